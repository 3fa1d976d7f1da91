# rlx.h to a list of what programs are compiled against, a line of C each:
#   STRUCT(rlx_tensor)  FIELD(rlx_tensor, dim)  ENUMERATOR(RLX_F32)  FUNCTION("int rlx_device_count(void)")
# It reads the plain C that rlx.h is written in: declarations without nested structs.
{ text = text $0 "\n" }

function trim(s)
{
    gsub(/[ \t\n]+/, " ", s)
    sub(/^ /, "", s)
    sub(/ $/, "", s)
    return s
}

# The name that a declarator ends with: "*log" of "void (*log)(...)", "dim" of "dim[6]".
function declared(s)
{
    if (match(s, /\(\*[a-z0-9_]+\)/))
        return substr(s, RSTART + 2, RLENGTH - 3)
    sub(/\[.*/, "", s)
    match(s, /[A-Za-z0-9_]+ *$/)
    return trim(substr(s, RSTART, RLENGTH))
}

function put_struct(body, name,    i, j, n, m, decl, part)
{
    print "STRUCT(" name ")"
    n = split(body, decl, ";")
    for (i = 1; i < n; i++) {
        if (decl[i] ~ /\(\*/) {
            print "FIELD(" name ", " declared(decl[i]) ")"
            continue
        }
        m = split(decl[i], part, ",")
        for (j = 1; j <= m; j++)
            print "FIELD(" name ", " declared(part[j]) ")"
    }
}

function put_enum(body,    i, n, part)
{
    n = split(body, part, ",")
    for (i = 1; i <= n; i++) {
        sub(/=.*/, "", part[i])
        if (trim(part[i]) != "")
            print "ENUMERATOR(" trim(part[i]) ")"
    }
}

END {
    while (match(text, /\/\*([^*]|\*+[^*\/])*\*+\//)) # comments
        text = substr(text, 1, RSTART - 1) " " substr(text, RSTART + RLENGTH)
    gsub(/\n[ \t]*#[^\n]*/, "\n", text)
    for (rest = text; match(rest, /typedef (struct|enum) [a-z0-9_]+ \{[^}]*\} [a-z0-9_]+;/);) {
        def = substr(rest, RSTART, RLENGTH)
        rest = substr(rest, RSTART + RLENGTH)
        open = index(def, "{")
        body = substr(def, open + 1, index(def, "}") - open - 1)
        split(def, word, " ")
        if (word[2] == "struct")
            put_struct(body, word[3])
        else
            put_enum(body)
    }
    for (rest = text; match(rest, /\nRLX_API [^;]*;/);) {
        print "FUNCTION(\"" trim(substr(rest, RSTART + 9, RLENGTH - 10)) "\")"
        rest = substr(rest, RSTART + RLENGTH)
    }
}
