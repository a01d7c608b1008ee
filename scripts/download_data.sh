#!/usr/bin/env bash
# Fetches a public data set from its publisher.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bash scripts/download_data.sh {ml-1m|ml-10m|ml-20m|amazon-beauty|amazon-sports|gowalla|deezer} DIR

Downloads the raw files into DIR and prints the command that preprocesses them. Needs curl or wget, and
unzip for MovieLens and Deezer. Sources: GroupLens (files.grouplens.org), the S3-Rec repository
(github.com/aHuiWang/CIKM2020-S3Rec), the LightGCN repository (github.com/kuandeng/LightGCN) and Zenodo
record 5121674. Mind their licences; MovieLens may not be
redistributed.
TEXT
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

need() { command -v "$1" >/dev/null 2>&1 || fail "$1 is not installed; install it and run this again"; }

# fetch URL FILE: written under another name first, so that a broken download leaves no half a file.
fetch() {
    printf 'downloading %s ...\n' "$1" >&2
    if command -v curl >/dev/null 2>&1; then
        curl --fail --location --retry 3 --connect-timeout 30 --output "$2.part" "$1" || unreachable "$1" "$2"
    elif command -v wget >/dev/null 2>&1; then
        wget --tries=3 --timeout=30 --output-document="$2.part" "$1" || unreachable "$1" "$2"
    else
        fail "neither curl nor wget is installed; install one, or fetch $1 yourself into $2"
    fi
    mv "$2.part" "$2"
}

unreachable() {
    rm -f "$2.part"
    fail "cannot download $1; check the network or proxy, or fetch it elsewhere and copy it to $2"
}

# fetch_zip URL: downloads and unpacks into $directory.
fetch_zip() {
    local archive
    need unzip
    archive="$directory/download.zip"
    fetch "$1" "$archive"
    unzip -q -o "$archive" -d "$directory" || fail "$archive is not a readable archive; remove it and try again"
    rm "$archive"
}

# fetch_s3rec NAME: sequences and item attributes.
fetch_s3rec() {
    local base=https://raw.githubusercontent.com/aHuiWang/CIKM2020-S3Rec/master/data
    fetch "$base/$1.txt" "$directory/$1.txt"
    fetch "$base/$1_item2attributes.json" "$directory/$1_item2attributes.json"
}

# next_command RAW SETTING...: what to run with the files.
next_command() {
    local raw="$1" setting
    shift
    printf '\nDone. Next:\n  python preprocess.py --input %q --output %q --set data.name=%s' \
        "$raw" "datasets/$dataset" "$dataset"
    for setting in "$@"; do printf ' --set %s' "$setting"; done
    printf '\n'
}

case "${1:-}" in
    -h | --help)
        usage
        exit 0
        ;;
esac
(($# == 2)) || fail "a data set and a directory are needed; see bash scripts/download_data.sh --help"
dataset="$1"
directory="$2"
movielens=https://files.grouplens.org/datasets/movielens

case "$dataset" in
    ml-1m | ml-10m | ml-20m | amazon-beauty | amazon-sports | gowalla | deezer)
        mkdir -p "$directory" || fail "cannot write to $directory"
        ;;
    *) fail "unknown data set '$dataset'; one of ml-1m, ml-10m, ml-20m, amazon-beauty, amazon-sports, gowalla, deezer" ;;
esac

case "$dataset" in
    ml-1m)
        fetch_zip "$movielens/ml-1m.zip"
        next_command "$directory/ml-1m" data.source=movielens
        ;;
    ml-10m)
        fetch_zip "$movielens/ml-10m.zip"
        next_command "$directory/ml-10M100K" data.source=movielens
        ;;
    ml-20m)
        fetch_zip "$movielens/ml-20m.zip"
        next_command "$directory/ml-20m" data.source=movielens
        ;;
    amazon-beauty)
        fetch_s3rec Beauty
        next_command "$directory/Beauty.txt" data.source=user_lines
        ;;
    amazon-sports)
        fetch_s3rec Sports_and_Outdoors
        next_command "$directory/Sports_and_Outdoors.txt" data.source=user_lines
        ;;
    gowalla)
        for part in train test; do
            fetch "https://raw.githubusercontent.com/kuandeng/LightGCN/master/Data/gowalla/$part.txt" "$directory/$part.txt"
        done
        next_command "$directory" data.source=user_lines data.protocol=pre_split
        ;;
    deezer)
        fetch_zip https://zenodo.org/api/records/5121674/files-archive
        # The record holds an archive of its own.
        find "$directory" -name '*.zip' -exec unzip -q -o {} -d "$directory" \;
        songs="$(find "$directory" -name song_embeddings.parquet -print -quit)"
        [[ -n "$songs" ]] || fail "no song_embeddings.parquet in what Zenodo sent to $directory"
        next_command "$(dirname "$songs")" data.source=deezer data.protocol=pre_split
        ;;
esac
