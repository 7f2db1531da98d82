/* bench/work/true.c: the least program, for `exec`. */
int main(void)
{
    return 0;
}
