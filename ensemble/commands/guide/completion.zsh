#compdef run_ensemble
# Completion of run_ensemble for zsh; printed by `run_ensemble completion zsh`.
_run_ensemble() {
    local -a found open
    found=("${(@f)$("${words[1]}" completion words "$LBUFFER" 2>/dev/null)}")
    open=(${(M)found:#*[=.]})
    found=(${found:#*[=.]})
    (( $#open )) && compadd -S '' -- $open
    (( $#found )) && compadd -- $found
    (( $#open + $#found )) || { compset -P '*='; _files }
}
compdef _run_ensemble run_ensemble
