# Completion of run_ensemble for bash; printed by `run_ensemble completion bash`.
_run_ensemble() {
    local line="${COMP_LINE:0:COMP_POINT}" word
    word="${line##*[[:space:]]}"
    mapfile -t COMPREPLY < <("${COMP_WORDS[0]}" completion words "$line" 2>/dev/null)
    case "$word" in *=*) COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}") ;; esac  # bash completes after the `=` alone
    case "${COMPREPLY[0]}" in *=|*.) compopt -o nospace ;; esac
}
complete -o default -F _run_ensemble run_ensemble
