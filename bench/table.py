"""bench/table.py: from samples to figures: medians, spreads, ratios, geometric means by group.  bench/run and bench/report print what it works out.

The ratio over QEMU is QEMU's median by rhea's: how many times as fast rhea is.  The ratio over native is rhea's median by the native one: how many times
the time it takes.  A row without a result of rhea or QEMU has no ratio and counts in no mean.
"""
import math
import statistics

GROUPS = {"integer": "integer", "memory": "memory", "programs": "programs", "float": "floating point and SIMD", "x87": "x87", "system": "system",
          "translate": "translation", "selfmod": "code that writes code", "start": "start-up and compiling", "boots": "boots",
          "smp": "two vCPUs"}
# First bars over QEMU, where there is one: of groups, and of all integer programs, which are three groups.
BARS = {"float": 10, "x87": 8, "system": 2.5, "selfmod": 5, "boots": 2}
ALL_INTEGER, ALL_INTEGER_TITLE, ALL_INTEGER_BAR = ("integer", "memory", "programs"), "all integer programs (the groups above)", 3


def spread(samples):
    return (statistics.median(samples), min(samples), max(samples)) if samples else None


def figures(row):
    """median, min, max of each system (or None), and the two ratios (or None)."""
    f = {s: spread(v) for s, v in row["samples"].items()}
    bad = bool(row["trouble"])
    f["over_qemu"] = f["qemu"][0] / f["rhea"][0] if f["qemu"] and f["rhea"] and f["rhea"][0] > 0 and not bad else None
    f["over_native"] = f["rhea"][0] / f["native"][0] if f["native"] and f["rhea"] and f["native"][0] > 0 and not bad else None
    f["qemu_over_native"] = f["qemu"][0] / f["native"][0] if f["native"] and f["qemu"] and f["native"][0] > 0 else None
    return f


def mean(values):
    values = [v for v in values if v]
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else None


def group(key, title, rows, counted, bar):
    return (key, title, rows, mean(f["over_qemu"] for _, f in counted), mean(f["over_native"] for _, f in counted), bar)


def groups(result):
    """(key, title, rows with figures, mean over QEMU, mean over native, bar); all integer programs are one without rows of its own"""
    keys = list(dict.fromkeys(r["group"] for r in result["rows"]))
    integer, left = [], [key for key in keys if key in ALL_INTEGER]
    for key in keys:
        rows = [(r, figures(r)) for r in result["rows"] if r["group"] == key]
        yield group(key, GROUPS.get(key, key), rows, rows, BARS.get(key))
        if key in left:
            integer += rows
            left.remove(key)
            if not left:
                yield group("all integer", ALL_INTEGER_TITLE, [], integer, ALL_INTEGER_BAR)


def scaling(result):
    """What two vCPUs do of independent work in the time one does it, per system: 2 is ideal."""
    by = {r["name"]: figures(r) for r in result["rows"]}
    if "one" not in by or "two" not in by:
        return {}
    return {s: 2 * by["one"][s][0] / by["two"][s][0] for s in ("native", "qemu", "rhea") if by["one"].get(s) and by["two"].get(s)}


def seconds(t):
    return "%.1f ms" % (t * 1e3) if t < 1 else "%.2f s" % t


def cell(f):
    return "%s (%s..%s)" % (seconds(f[0]), number(f[1], f[0]), number(f[2], f[0])) if f else "-"


def number(t, like):
    return "%.1f" % (t * 1e3) if like < 1 else "%.2f" % t


def ratio(r):
    return "-" if not r else "%.1f" % r if r >= 9.95 else "%.2f" % r


def remark(row):
    parts = ["FAILED %s: %s" % (s, why) for s, why in row["trouble"].items()]
    parts += ["%s skipped: %s" % (s, why) for s, why in row["skipped"].items()]
    return "; ".join(parts)


def head(result):
    f = result["facts"]
    return "%s, %s, host kernel %s, guest kernel %s, QEMU %s, rhea %s (-accel %s), %d rounds, load %.1f at start" % (
        f["date"], f["cpu"], f["kernel"], f["guest_kernel"], f["qemu"], f["rhea"], f["accel"], f["rounds"], f["load"])


def mean_line(title, over_qemu, over_native, bar):
    below = "" if not bar or not over_qemu else "bar %g: %s" % (bar, "held" if over_qemu >= bar else "BELOW")
    return ["= " + title, "", "", "", ratio(over_qemu), ratio(over_native), below]


def lines(result):
    """Rows of cells: row, native, QEMU, rhea, rhea over QEMU, over native, remark; a group's mean as a row of its own with `bar`."""
    for _, title, rows, over_qemu, over_native, bar in groups(result):
        for r, f in rows:
            yield [r["name"], cell(f["native"]), cell(f["qemu"]), cell(f["rhea"]), ratio(f["over_qemu"]), ratio(f["over_native"]), remark(r)]
        yield mean_line(title, over_qemu, over_native, bar)


def text(result):
    out = [head(result), "", "median (min..max); rhea over QEMU: times as fast; over native: times as long; = geometric mean of a group", ""]
    rows = [["row", "native", "QEMU", "rhea", "over QEMU", "over native", ""]] + list(lines(result))
    width = [max(len(r[i]) for r in rows) for i in range(6)]
    for r in rows:
        out.append("  ".join(r[i].ljust(width[i]) if i == 0 else r[i].rjust(width[i]) for i in range(6)) + ("  " + r[6] if r[6] else ""))
        if r[0].startswith("= "):
            out.append("")
    s = scaling(result)
    if s:
        out.append("two vCPUs do of independent work what one does, times: " + ", ".join("%s %.2f" % (k, v) for k, v in s.items()))
    slow = [r["name"] for r in result["rows"] if (figures(r)["over_qemu"] or 9) < 1]
    if slow:
        out.append("slower than QEMU: " + ", ".join(slow))
    return "\n".join(out)


def markdown(result):
    out = [head(result) + ". Medians, with minimum and maximum.", "", "| row | native | QEMU | rhea | rhea over QEMU | rhea over native |", "|---|---|---|---|---|---|"]
    for r in lines(result):
        if r[0].startswith("= "):
            out.append("| **%s** | | | | **%s** | **%s** |" % (r[0][2:], r[4], r[5]))
        else:
            out.append("| %s%s | %s | %s | %s | %s | %s |" % (r[0], " (%s)" % r[6] if r[6] else "", r[1], r[2], r[3], r[4], r[5]))
    s = scaling(result)
    if s:
        out += ["", "Independent work on two vCPUs beside one (2 is ideal): " + ", ".join("%s %.2f" % (k, v) for k, v in s.items()) + "."]
    return "\n".join(out)
