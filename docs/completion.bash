# Tab completion in bash of groups, options and keys: source docs/completion.bash
#
# For `python -m slt.COMMAND`, `python -m slt COMMAND` and the installed `slt COMMAND`. Hydra's own
# (`-sc install=bash`) completes `python FILE.py` only; this one asks the same completer, without importing torch.
_slt_complete() {
    local line=${COMP_LINE:0:COMP_POINT} python=python rest command=train
    if [[ $line =~ ^[[:space:]]*([^[:space:]]*python[0-9.]*)[[:space:]]+-m[[:space:]]+slt([.[:space:]].*)$ ]]; then
        python=${BASH_REMATCH[1]} rest=${BASH_REMATCH[2]}
    elif [[ $line =~ ^[[:space:]]*slt([[:space:]].*)$ ]]; then
        rest=${BASH_REMATCH[1]}
    else
        return
    fi
    if [[ $rest =~ ^[.[:space:]][[:space:]]*(train|eval|export|pretrain|extract|demo|board|score|rate|segment|align|start)([[:space:]].*)$ ]]; then
        command=${BASH_REMATCH[1]} rest=${BASH_REMATCH[2]}
    fi
    COMPREPLY=($(compgen -W "$(COMP_LINE="slt $rest" "$python" -c \
        "from slt.config.entry import main; main('$command')(print)()" -sc query=bash 2>/dev/null)" -- "${rest##*[[:space:]]}"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//[=@]/}
complete -o nospace -o default -F _slt_complete python python3 slt
