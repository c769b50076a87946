#compdef lintel
# zsh completion for lintel; `lintel completion zsh` prints it.
_lintel() {
    local -a found
    local line files=
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            files=yes
        else
            found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        fi
    done < <("${words[1]}" completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( ${#found} )) && _describe -t commands 'lintel' found
    [[ -n $files ]] && _files
}
if [[ $funcstack[1] == _lintel ]]; then
    _lintel "$@"
else
    compdef _lintel lintel
fi
