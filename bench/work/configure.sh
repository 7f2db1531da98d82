# bench/work/configure.sh: what configure scripts do: small tests, many short-lived processes, generated files.
cd /tmp
for feature in stdio stdlib string unistd sys_types sys_stat; do
    cat >conftest.c <<END
#define HAVE_$(echo $feature | tr a-z A-Z) 1
int main(void) { return 0; }
END
    name=$(sed -n 's/^#define \([A-Z_]*\) 1$/\1/p' conftest.c)
    if grep -q "int main" conftest.c && test -n "$name"; then
        echo "checking for $feature.h... yes"
        echo "s/@$name@/1/g" >>conftest.sed
    fi
    n=$(expr ${n-0} + ${#name})
    rm -f conftest.c
done
echo "@HAVE_STDIO@ @HAVE_UNISTD@ $n" | sed -f conftest.sed
sort conftest.sed | tail -n 1
rm -f conftest.sed
