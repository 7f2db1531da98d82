# bench/work/mix.py: dictionaries, objects, strings, closures and big integers in Python; the interpreter's start is not counted.
import time


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def moved(self, dx, dy):
        return Point(self.x + dx, self.y + dy)


def work(n):
    total, words, p = 0, {}, Point(0, 0)
    for i in range(n):
        p = p.moved(i & 3, -(i % 5))
        key = "k%d" % (i % 701)
        words[key] = words.get(key, 0) + p.x - p.y
    for key in sorted(words):
        total = (total * 31 + words[key]) & 0xffffffff
    text = ",".join(str(x * x) for x in range(n // 4))
    total += sum(int(t) for t in text.split(",") if "7" in t)
    return (total + pow(3, n, 10**40 + 7)) & 0xffffffffffffffff


begin = time.monotonic()
result = work(200000)
print("seconds %.9f sum %016x" % (time.monotonic() - begin, result))
