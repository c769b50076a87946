# fish completion for lintel; `lintel completion fish` prints it.
function __lintel_complete
    set -l before (commandline -opc)
    set -l word (commandline -ct)
    for line in ($before[1] completion words -- $before[2..-1] "$word" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$word"
        else
            echo $line
        end
    end
end
complete -c lintel -f -a '(__lintel_complete)'
