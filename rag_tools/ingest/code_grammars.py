"""How each programming language names its definitions, as node types of its grammar."""

from __future__ import annotations

from dataclasses import dataclass, replace


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
    """

    package: str
    function: str
    media_type: str
    functions: frozenset[str]
    classes: frozenset[str]
    wrappers: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset({"comment"})


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
}
