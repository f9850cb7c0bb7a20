(comment) @comment
(number) @number
(string) @string

[
  "data" "plate" "const" "latent" "param" "let" "observe" "factor" "report" "net" "fn" "dist" "guide" "fit" "import"
] @keyword
["if" "then" "else"] @keyword.conditional
["over" "in" "by" "along" "where" "from" "on" "without"] @keyword
["and" "or" "not"] @keyword.operator
["~" "=" "+" "-" "*" "/" "^" "<" "<=" ">" ">=" "==" "!=" "|>" "->" ".."] @operator
["(" ")" "[" "]" "{" "}"] @punctuation.bracket
["," ":" ";"] @punctuation.delimiter
"?" @punctuation.special

(type base: (identifier) @type)
(table name: (identifier) @type)
(plate name: (identifier) @type)
(binder plate: (identifier) @type)
(column name: (identifier) @property)
(const name: (identifier) @constant)
(head name: (identifier) @variable)
(binder index: (identifier) @variable.parameter)
(parameter name: (identifier) @variable.parameter)
(arguments label: (identifier) @variable.parameter)
(member part: (identifier) @property)
(option name: (identifier) @property)
(item name: (identifier) @function)
(net name: (identifier) @function)
(function name: (identifier) @function)
(distribution name: (identifier) @type)
(attribute "@" @attribute name: (identifier) @attribute)

((call function: (identifier) @type)
  (#match? @type "^[A-Z]"))
((call function: (identifier) @function.call)
  (#match? @function.call "^[a-z_]"))
