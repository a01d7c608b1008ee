# shellcheck shell=bash
# Shared by the scripts that can run several workers: source it after _setup.sh.

# split_launch_flags ARG...: LAUNCH gets the flags that say where workers run, REST all others.
split_launch_flags() {
    LAUNCH=()
    REST=()
    while (($#)); do
        case "$1" in
            --nodes | --node_rank | --master_addr | --master_port | --log_dir | --workers)
                (($# > 1)) || fail "$1 needs a value"
                LAUNCH+=("$1" "$2")
                shift 2
                ;;
            --nodes=* | --node_rank=* | --master_addr=* | --master_port=* | --log_dir=* | --workers=*)
                LAUNCH+=("${1%%=*}" "${1#*=}")
                shift
                ;;
            *)
                REST+=("$1")
                shift
                ;;
        esac
    done
}

# run_entry LOG_DIR SCRIPT [ARG...]: by msrun in the workers that LAUNCH asks for, else in one process.
run_entry() {
    local log_dir="$1" script="$2"
    shift 2
    if [[ " ${LAUNCH[*]} " != *" --workers "* ]]; then
        ((${#LAUNCH[@]} == 0)) || fail "${LAUNCH[0]} has no meaning without --workers"
        run_python "$script" "$@"
        return
    fi
    [[ " ${LAUNCH[*]} " == *" --log_dir "* ]] || LAUNCH+=(--log_dir "$log_dir")
    run_python scripts/launch_workers.py "${LAUNCH[@]}" "$ROOT/$script" "$@"
}
