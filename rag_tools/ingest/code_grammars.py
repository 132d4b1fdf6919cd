"""How each programming language names its definitions, as node types of its grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec


@dataclass(frozen=True, slots=True)
class Grammar:
    """How a language names its definitions.

    Attributes
    ----------
    package, function
        Python package of the grammar, and the function in it that returns the grammar.
    media_type
        Media type of the language.
    functions, classes
        Node types that become ``function`` and ``class`` blocks.
    wrappers
        Node types around one definition that belong to it, such as ``export``.
    regions
        Node types that are searched for definitions, such as ``#ifdef``.
    prefixes
        Node types that belong to the definition after them.
    names
        Node types that name a definition which has no field for its name: the first of its
        children of these types, with those that follow it at once.
    scope
        Regular expression of what parts a qualified name; None if a name has no parts.
    bodies
        Node types of the body of a class that has no field for it.
    optional
        Whether the package belongs to the extra ``[code]``. Without it, a file is its lines.
    """

    package: str
    function: str
    media_type: str
    functions: frozenset[str]
    classes: frozenset[str]
    wrappers: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset({"comment"})
    names: frozenset[str] = frozenset()
    scope: str | None = "::"
    bodies: frozenset[str] = frozenset()
    optional: bool = False

    @property
    def installed(self) -> bool:
        """Whether the package can be imported."""
        return find_spec(self.package) is not None


_PYTHON = Grammar(
    "tree_sitter_python",
    "language",
    "text/x-python",
    functions=frozenset({"function_definition"}),
    classes=frozenset({"class_definition"}),
    wrappers=frozenset({"decorated_definition"}),
    regions=frozenset(
        {
            "block",
            "elif_clause",
            "else_clause",
            "except_clause",
            "finally_clause",
            "if_statement",
            "try_statement",
            "with_statement",
        }
    ),
)
_ECMASCRIPT_FUNCTIONS = frozenset(
    {
        "arrow_function",
        "function_declaration",
        "function_expression",
        "generator_function",
        "generator_function_declaration",
        "method_definition",
    }
)
_ECMASCRIPT_WRAPPERS = frozenset(
    {
        "export_statement",
        "expression_statement",
        "lexical_declaration",
        "variable_declaration",
        # What gives an anonymous function its name.
        "assignment_expression",
        "field_definition",
        "public_field_definition",
        "variable_declarator",
    }
)
_JAVASCRIPT = Grammar(
    "tree_sitter_javascript",
    "language",
    "text/javascript",
    functions=_ECMASCRIPT_FUNCTIONS,
    classes=frozenset({"class_declaration", "class"}),
    wrappers=_ECMASCRIPT_WRAPPERS,
    prefixes=frozenset({"comment", "decorator"}),
)
_TYPESCRIPT = Grammar(
    "tree_sitter_typescript",
    "language_typescript",
    "text/typescript",
    functions=_ECMASCRIPT_FUNCTIONS | {"function_signature"},
    classes=frozenset(
        {
            "abstract_class_declaration",
            "class",
            "class_declaration",
            "enum_declaration",
            "interface_declaration",
            "internal_module",
            "module",
            "type_alias_declaration",
        }
    ),
    wrappers=_ECMASCRIPT_WRAPPERS | {"ambient_declaration"},
    prefixes=frozenset({"comment", "decorator"}),
)
_TSX = replace(_TYPESCRIPT, function="language_tsx")
_GO = Grammar(
    "tree_sitter_go",
    "language",
    "text/x-go",
    functions=frozenset({"func_literal", "function_declaration", "method_declaration"}),
    classes=frozenset({"type_alias", "type_spec"}),
    wrappers=frozenset({"expression_list", "type_declaration", "var_declaration", "var_spec"}),
    regions=frozenset({"var_spec_list"}),
)
_RUST = Grammar(
    "tree_sitter_rust",
    "language",
    "text/x-rust",
    functions=frozenset({"function_item", "function_signature_item", "macro_definition"}),
    classes=frozenset(
        {"enum_item", "impl_item", "mod_item", "struct_item", "trait_item", "union_item"}
    ),
    regions=frozenset({"declaration_list", "foreign_mod_item"}),
    prefixes=frozenset({"attribute_item", "block_comment", "line_comment"}),
)
_JAVA = Grammar(
    "tree_sitter_java",
    "language",
    "text/x-java",
    functions=frozenset(
        {"compact_constructor_declaration", "constructor_declaration", "method_declaration"}
    ),
    classes=frozenset(
        {
            "annotation_type_declaration",
            "class_declaration",
            "enum_declaration",
            "interface_declaration",
            "record_declaration",
        }
    ),
    regions=frozenset({"enum_body_declarations"}),
    prefixes=frozenset({"block_comment", "line_comment"}),
)
_CPP = Grammar(
    "tree_sitter_cpp",
    "language",
    "text/x-c++",
    functions=frozenset({"function_definition", "lambda_expression"}),
    classes=frozenset(
        {
            "class_specifier",
            "enum_specifier",
            "namespace_definition",
            "struct_specifier",
            "type_definition",
            "union_specifier",
        }
    ),
    wrappers=frozenset({"declaration", "init_declarator", "template_declaration"}),
    regions=frozenset(
        {
            "declaration_list",
            "linkage_specification",
            "preproc_elif",
            "preproc_else",
            "preproc_if",
            "preproc_ifdef",
        }
    ),
)
_C = replace(_CPP, package="tree_sitter_c", media_type="text/x-c")
PREPROCESSED = (_C, _CPP)

_SHELL = Grammar(
    "tree_sitter_bash",
    "language",
    "text/x-shellscript",
    functions=frozenset({"function_definition"}),
    classes=frozenset(),
    regions=frozenset({"if_statement", "list"}),
)
_CSS = Grammar(
    "tree_sitter_css",
    "language",
    "text/css",
    functions=frozenset({"keyframes_statement", "rule_set"}),
    classes=frozenset(),
    regions=frozenset({"at_rule", "block", "media_statement", "supports_statement"}),
    names=frozenset({"keyframes_name", "selectors"}),
    scope=None,
)
_TERRAFORM = Grammar(
    "tree_sitter_hcl",
    "language",
    "text/x-terraform",
    functions=frozenset({"block"}),
    classes=frozenset(),
    wrappers=frozenset({"body"}),  # of the file, after its first comment
    names=frozenset({"identifier", "string_lit"}),
    scope=None,
)
_LUA = Grammar(
    "tree_sitter_lua",
    "language",
    "text/x-lua",
    functions=frozenset({"function_declaration", "function_definition"}),
    classes=frozenset(),
    wrappers=frozenset({"assignment_statement", "expression_list", "variable_declaration"}),
    names=frozenset({"variable_list"}),
    scope="[.:]",
)
_MAKE = Grammar(
    "tree_sitter_make",
    "language",
    "text/x-makefile",
    functions=frozenset({"define_directive", "rule"}),
    classes=frozenset(),
    regions=frozenset({"conditional", "else_directive", "elsif_directive"}),
    names=frozenset({"targets"}),
    scope=None,
)
_RUBY = Grammar(
    "tree_sitter_ruby",
    "language",
    "text/x-ruby",
    functions=frozenset({"method", "singleton_method"}),
    classes=frozenset({"class", "module", "singleton_class"}),
    wrappers=frozenset({"argument_list", "assignment", "call"}),  # "private def name"
    regions=frozenset({"block", "body_statement", "do_block", "else", "if", "then", "unless"}),
    names=frozenset({"self"}),
)
_PHP = Grammar(
    "tree_sitter_php",
    "language_php",
    "text/x-php",
    functions=frozenset(
        {"anonymous_function", "arrow_function", "function_definition", "method_declaration"}
    ),
    classes=frozenset(
        {
            "class_declaration",
            "enum_declaration",
            "interface_declaration",
            "namespace_definition",
            "trait_declaration",
        }
    ),
    wrappers=frozenset({"assignment_expression", "expression_statement"}),
    regions=frozenset({"compound_statement", "else_clause", "if_statement"}),
    names=frozenset({"variable_name"}),
    scope=r"\\",
    optional=True,
)
_C_SHARP = Grammar(
    "tree_sitter_c_sharp",
    "language",
    "text/x-csharp",
    functions=frozenset(
        {
            "constructor_declaration",
            "conversion_operator_declaration",
            "delegate_declaration",
            "destructor_declaration",
            "indexer_declaration",
            "local_function_statement",
            "method_declaration",
            "operator_declaration",
            "property_declaration",
        }
    ),
    classes=frozenset(
        {
            "class_declaration",
            "enum_declaration",
            "interface_declaration",
            "namespace_declaration",
            "record_declaration",
            "struct_declaration",
        }
    ),
    regions=frozenset(
        {
            "file_scoped_namespace_declaration",
            "global_statement",
            "preproc_elif",
            "preproc_else",
            "preproc_if",
        }
    ),
    names=frozenset({"this"}),
    scope=r"\.",
    optional=True,
)
_KOTLIN = Grammar(
    "tree_sitter_kotlin",
    "language",
    "text/x-kotlin",
    functions=frozenset({"function_declaration", "secondary_constructor"}),
    classes=frozenset(
        {"class_declaration", "companion_object", "object_declaration", "type_alias"}
    ),
    prefixes=frozenset({"block_comment", "line_comment"}),
    names=frozenset({"companion", "constructor", "identifier"}),
    bodies=frozenset({"class_body", "enum_class_body"}),
    optional=True,
)
_SCALA = Grammar(
    "tree_sitter_scala",
    "language",
    "text/x-scala",
    functions=frozenset({"function_declaration", "function_definition", "given_definition"}),
    classes=frozenset(
        {
            "class_definition",
            "enum_definition",
            "object_definition",
            "package_object",
            "trait_definition",
        }
    ),
    regions=frozenset({"extension_definition", "package_clause", "template_body"}),
    prefixes=frozenset({"block_comment", "comment"}),
    names=frozenset({"identifier"}),
    optional=True,
)
_SWIFT = Grammar(
    "tree_sitter_swift",
    "language",
    "text/x-swift",
    functions=frozenset(
        {
            "deinit_declaration",
            "function_declaration",
            "init_declaration",
            "protocol_function_declaration",
            "subscript_declaration",
        }
    ),
    classes=frozenset({"class_declaration", "protocol_declaration"}),
    prefixes=frozenset({"comment", "multiline_comment"}),
    names=frozenset({"deinit", "init", "subscript"}),
    optional=True,
)
_SQL = Grammar(
    "tree_sitter_sql",
    "language",
    "application/sql",
    functions=frozenset({"create_function", "create_procedure", "create_trigger"}),
    classes=frozenset(
        {
            "create_materialized_view",
            "create_schema",
            "create_sequence",
            "create_table",
            "create_type",
            "create_view",
        }
    ),
    wrappers=frozenset({"statement"}),
    prefixes=frozenset({"comment", "marginalia"}),
    names=frozenset({"identifier", "object_reference"}),
    scope=r"\.",
    optional=True,
)
COMPONENTS = {None: _JAVASCRIPT, "js": _JAVASCRIPT, "jsx": _JAVASCRIPT, "ts": _TYPESCRIPT}
"""Grammars of the scripts in components of Vue and Svelte, by the ``lang`` of the script."""

LANGUAGES: dict[str, Grammar] = {
    ".py": _PYTHON,
    ".pyi": _PYTHON,
    ".pyw": _PYTHON,
    ".js": _JAVASCRIPT,
    ".cjs": _JAVASCRIPT,
    ".jsx": _JAVASCRIPT,
    ".mjs": _JAVASCRIPT,
    ".ts": _TYPESCRIPT,
    ".cts": _TYPESCRIPT,
    ".mts": _TYPESCRIPT,
    ".tsx": _TSX,
    ".go": _GO,
    ".rs": _RUST,
    ".java": _JAVA,
    ".c": _C,
    ".cc": _CPP,
    ".cpp": _CPP,
    ".cxx": _CPP,
    ".h": _CPP,  # C headers too: the grammar takes both
    ".hh": _CPP,
    ".hpp": _CPP,
    ".hxx": _CPP,
    ".inl": _CPP,
    ".ipp": _CPP,
    ".bash": _SHELL,
    ".cs": _C_SHARP,
    ".css": _CSS,
    ".hcl": _TERRAFORM,
    ".kt": _KOTLIN,
    ".kts": _KOTLIN,
    ".ksh": _SHELL,
    ".lua": _LUA,
    ".mak": _MAKE,
    ".mk": _MAKE,
    ".php": _PHP,
    ".rake": _RUBY,
    ".rb": _RUBY,
    ".sbt": _SCALA,
    ".sc": _SCALA,
    ".scala": _SCALA,
    ".sh": _SHELL,
    ".sql": _SQL,
    ".swift": _SWIFT,
    ".tf": _TERRAFORM,
    ".tfvars": _TERRAFORM,
    ".zsh": _SHELL,
}

CODE_TYPES = frozenset(grammar.media_type for grammar in LANGUAGES.values()) | {
    "text/x-dockerfile",
    "text/x-protobuf",
    "text/x-svelte",
    "text/x-vue",
}
"""Media types of source code."""

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def with_words(name: str) -> str:
    """Return a name, followed by its words if it writes several as one.

    An encoder doesn't see the words inside of ``parseHTTPHeader``; at an underscore it parts them.

    Examples
    --------
    >>> with_words("parseHTTPHeader"), with_words("parse_header"), with_words("Parser")
    ('parseHTTPHeader parse HTTP Header', 'parse_header', 'Parser')
    """
    words = _HUMP.sub(" ", name)
    return name if words == name else f"{name} {words}"
