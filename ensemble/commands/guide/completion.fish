# Completion of run_ensemble for fish; printed by `run_ensemble completion fish`.
function __run_ensemble_words
    set -l program (commandline -opc)[1]
    $program completion words (commandline -cp | string collect) 2>/dev/null
end
complete -c run_ensemble -a '(__run_ensemble_words)'
