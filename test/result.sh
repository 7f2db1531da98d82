# test/result.sh: for scripts of tests, to be sourced from the root of the project: a folder that goes with the script, and lines as cmocka prints them.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
status=0 # what the script is to end with

result() { # NAME GOOD(0)
    if [ "$2" -eq 0 ]; then
        echo "[       OK ] $1"
    else
        echo "[  FAILED  ] $1"
        status=1
    fi
}
