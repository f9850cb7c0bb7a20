#!/bin/sh
# What stanc says of each program of this folder, with the warnings of its pedantic mode: NAME.stan gives NAME.txt.
# `pip download --no-deps httpstan` has the compiler as httpstan/stanc; give its path.
cd "$(dirname "$0")" || exit 1
"$1" --version > version.txt
for program in *.stan; do
  { "$1" --warn-pedantic --o=/dev/null "$program" 2>&1; echo "exit $?"; } > "${program%.stan}.txt"
done
