#!/bin/sh
# A real job, recorded and looked at from every side. Each command is printed before it runs.
set -eu

home=$(cd "$(dirname "$0")" && pwd)
work=$home/../../.demo
rm -rf "$work"
mkdir -p "$work"
cp "$home/unparse_stdlib.py" "$work/"
cd "$work"

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi

say() {
    printf '\n%s# %s%s\n' "$bold" "$1" "$plain"
}

run() {
    # Print the command so that it can be typed again: quote what a shell would take apart.
    line='$'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_./:=%,+-]*) line="$line \"$word\"" ;;
            *) line="$line $word" ;;
        esac
    done
    printf '%s%s%s\n' "$bold" "$line" "$plain"
    "$@"
}

say "Record a job that parses and prints back 20 modules of the standard library."
run tracekit record -o unparse.tkt unparse_stdlib.py 20

say "What was recorded?"
run tracekit info unparse.tkt

say "Ask in SQL: which functions allocated most of what is still there at the end?"
run tracekit query unparse.tkt "SELECT qualname, count(*) AS blocks, sum(size) AS bytes FROM heap_at(moment('end')) JOIN stacks USING (trace_id, stack_id) JOIN codes USING (trace_id, code_id) GROUP BY qualname ORDER BY bytes DESC LIMIT 8"

say "The heap when it was at its highest, by function."
run tracekit replay unparse.tkt --at peak --by function --limit 10

say "What kinds of objects are still there at the end?"
run tracekit replay unparse.tkt --at end --by type --limit 6

say "What grew between two marks that the program set?"
run tracekit replay unparse.tkt --from mark:quarter --to mark:done --by site --limit 8

say "Which of that looks like a leak?"
run tracekit leaks unparse.tkt --since mark:quarter --to mark:done --limit 3

say "Live bytes, resident memory and collections over time."
run tracekit timeline unparse.tkt

say "Why is memory not given back to the system at the end?"
run tracekit fragmentation unparse.tkt --at mark:done --limit 5

say "Would other thresholds of the garbage collector have helped, and what do they cost?"
run tracekit simulate unparse.tkt --scenario recorded --scenario gc=10000 --scenario gc=off

say "Where would it have died with 20 MiB, the interpreter included?"
run tracekit simulate unparse.tkt --memory-limit 20MiB

say "Your turn: the recording is in .demo/, and '. .venv/bin/activate' puts tracekit on the path."
printf '  cd .demo && tracekit shell unparse.tkt\n'
