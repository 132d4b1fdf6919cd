"""Source code: functions and classes as blocks, with their symbol path."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_tools.ingest.code import load_code
from rag_tools.ingest.code_grammars import LANGUAGES


def load(name, source):
    document = load_code(source.encode("utf-8"), uri=f"memory:{name}", name=name)
    assert document.text == source
    assert "".join(source[block.start : block.end] for block in document.blocks) == source
    return document


def outline(name, source):
    return [
        (block.kind, block.path, source[block.start : block.end].strip())
        for block in load(name, source).blocks
    ]


def symbols(name, source):
    return [(kind, path) for kind, path, _ in outline(name, source) if kind != "code"]


PYTHON = '''\
"""Doc with é and 😀."""
import os

# leading
# comment
@decorated
class Tree:
    """A tree."""
    size = 1  # trailing

    # about grow
    @property
    def grow(self):
        return "🌳"

    def fall(self): ...

if os:
    def maybe(): pass

LAST = Tree()
'''


def test_python():
    assert outline("a.py", PYTHON) == [
        ("code", (), '"""Doc with é and 😀."""\nimport os'),
        (
            "class",
            ("Tree",),
            "# leading\n# comment\n@decorated\nclass Tree:\n"
            '    """A tree."""\n    size = 1  # trailing',
        ),
        (
            "function",
            ("Tree", "grow"),
            '# about grow\n    @property\n    def grow(self):\n        return "🌳"',
        ),
        ("function", ("Tree", "fall"), "def fall(self): ..."),
        ("code", (), "if os:"),
        ("function", ("maybe",), "def maybe(): pass"),
        ("code", (), "LAST = Tree()"),
    ]


def test_comment_that_does_not_touch_stays_apart():
    assert outline("a.py", "# licence\n\ndef f(): pass\n") == [
        ("code", (), "# licence"),
        ("function", ("f",), "def f(): pass"),
    ]


def test_comment_behind_a_definition_stays_with_it():
    assert outline("a.py", "def f(): pass  # about f\ndef g(): pass\n") == [
        ("function", ("f",), "def f(): pass  # about f"),
        ("function", ("g",), "def g(): pass"),
    ]


@pytest.mark.parametrize("name", ["a.js", "a.mjs", "a.jsx", "a.ts", "a.tsx"])
def test_javascript(name):
    source = """\
// head

/** About A. */
export class A {
  run = () => 1;
  static make() { return new A(); }
}
export default function main() {}
const arrow = async (x) => x, other = 2;
exports.helper = function () {};
function* gen() {}
"""
    assert symbols(name, source) == [
        ("class", ("A",)),
        ("function", ("A", "run")),
        ("function", ("A", "make")),
        ("function", ("main",)),
        ("function", ("arrow",)),
        ("function", ("exports.helper",)),
        ("function", ("gen",)),
    ]
    assert outline(name, source)[1][2] == "/** About A. */\nexport class A {"


def test_typescript():
    source = """\
namespace Outer { export function inner(): void {} }
interface Shape { area(): number }
enum Colour { Red }
type Id = string
abstract class Base {
  @logged()
  go(): void {}
}
declare function external(): void;
"""
    assert symbols("a.ts", source) == [
        ("class", ("Outer",)),
        ("function", ("Outer", "inner")),
        ("class", ("Shape",)),
        ("class", ("Colour",)),
        ("class", ("Id",)),
        ("class", ("Base",)),
        ("function", ("Base", "go")),
        ("function", ("external",)),
    ]
    assert outline("a.ts", source)[6][2] == "@logged()\n  go(): void {}\n}"


def test_jsx_element():
    assert symbols("a.tsx", "export const App: FC = () => <div>é</div>;\n") == [
        ("function", ("App",))
    ]


def test_go():
    source = """\
package p

// Run runs.
func (s *Server[T]) Run() {}

type (
	A struct{}
	B interface{}
)

func main() {}
"""
    assert outline("a.go", source) == [
        ("code", (), "package p"),
        ("function", ("Server", "Run"), "// Run runs.\nfunc (s *Server[T]) Run() {}"),
        ("class", ("A",), "type (\n\tA struct{}"),
        ("class", ("B",), "B interface{}\n)"),
        ("function", ("main",), "func main() {}"),
    ]


def test_rust():
    source = """\
use std::fmt;
/// A point.
#[derive(Debug)]
struct Point { x: i32 }

impl fmt::Display for Point {
    #[inline]
    fn fmt(&self) {}
}
mod deep {
    pub fn inner() {}
}
macro_rules! mac { () => {} }
trait Shape { fn area(&self) -> f64; }
"""
    assert symbols("a.rs", source) == [
        ("class", ("Point",)),
        ("class", ("fmt::Display for Point",)),
        ("function", ("fmt::Display for Point", "fmt")),
        ("class", ("deep",)),
        ("function", ("deep", "inner")),
        ("function", ("mac",)),
        ("class", ("Shape",)),
        ("function", ("Shape", "area")),
    ]
    assert outline("a.rs", source)[1][2].startswith("/// A point.\n#[derive(Debug)]\nstruct")


def test_java():
    source = """\
package a;

/** About A. */
@Deprecated
public class A<T> {
  int x;
  A() {}
  @Override
  void run() {}
  enum E { ONE; void go() {} }
}
record R(int x) {}
"""
    assert symbols("A.java", source) == [
        ("class", ("A",)),
        ("function", ("A", "A")),
        ("function", ("A", "run")),
        ("class", ("A", "E")),
        ("function", ("A", "E", "go")),
        ("class", ("R",)),
    ]
    assert outline("A.java", source)[1][2].startswith("/** About A. */\n@Deprecated\npublic class")


def test_cpp_header():
    source = """\
#ifndef X_H
#define X_H
namespace a::b {
template <class T>
class C : public D {
 public:
  int f() const { return 1; }
  ~C() {}
};
}
extern "C" { int h(void) {} }
int A<int>::g(int x) {}
char *p() {}
typedef struct { int x; } Q;
struct forward;
#endif
"""
    assert symbols("a.h", source) == [
        ("class", ("a", "b")),
        ("class", ("a", "b", "C")),
        ("function", ("a", "b", "C", "f")),
        ("function", ("a", "b", "C", "~C")),
        ("function", ("h",)),
        ("function", ("A<int>", "g")),
        ("function", ("p",)),
        ("class", ("Q",)),
    ]


def paths(name, source):
    return [" > ".join(path) for _, path in symbols(name, source)]


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("class LIB_EXPORT Pump : public Machine {\n  int rate;\n};", "Pump"),
        ("struct LIB_EXPORT(1) Pump final { int rate; };", "Pump"),
        ("class [[nodiscard]] alignas(16) LIB_API Pump { int rate; };", "Pump"),
        ("enum class LIB_API Colour : unsigned { Red };", "Colour"),
        ("class LIB_API Pump<int> { int rate; };", "Pump<int>"),
        ("class __declspec(dllexport) Pump { int rate; };", "Pump"),
        ("HRESULT\nWINAPI\nOpenPump(int n)\n{\n  return 0;\n}", "OpenPump"),
        ("TEST(Pumps, Start)\n{\n  EXPECT_TRUE(1);\n}", "TEST(Pumps, Start)"),
        ("Pump& Pump::operator+=(int n) { return *this; }", "Pump > operator+="),
        ("bool &ok() { static bool b; return b; }", "ok"),
        ("std::ostream& operator<<(std::ostream& o, Pump const& p) { return o; }", "operator<<"),
        ("Pump::operator std::string() const { return {}; }", "Pump > operator std::string"),
        ("Pump::operator const char*() const { return 0; }", "Pump > operator const char*"),
        ("Pump::~Pump() {}", "Pump > ~Pump"),
        ("void (*handler(int n, void (*f)(int)))(int) { return f; }", "handler"),
        ("const auto twice = [](int n) { return 2 * n; };", "twice"),
        ("namespace a::inline v2 { }", "a > v2"),
        ("typedef int (*callback)(void *);", "callback"),
        ("class LIB_API Pump;\nstruct LIB_API pump p = {1};", ""),
    ],
)
def test_names_in_cpp(source, path):
    assert paths("a.hpp", source) == ([path] if path else [])


def test_macros_between_the_members_of_a_class():
    source = """\
class UI_API Panel : public Base
{
    Q_OBJECT
    Q_PROPERTY(int size READ size
               WRITE setSize)
public:
    UFUNCTION(Meta = (Name = "Open (all)"))
    void open() { LOG_CALL(open); }
    const Item& operator[](int n) const { return items[n]; }
    explicit operator bool() const { return true; }
};
"""
    assert paths("a.h", source) == [
        "Panel",
        "Panel > open",
        "Panel > operator[]",
        "Panel > operator bool",
    ]


def test_macros_right_above_a_definition_belong_to_it():
    source = (
        "A_MACRO(1)\n\n// Heroes.\nUCLASS(Blue)\nUMETA()\n"
        "class G_API Hero : public Actor { int a; };\n"
    )
    assert outline("a.h", source) == [
        ("code", (), "A_MACRO(1)"),
        ("class", ("Hero",), source.partition("\n\n")[2].strip()),
    ]


@pytest.mark.parametrize(
    ("name", "source", "path"),
    [
        ("a.go", "package m\n\nvar serve = func(n int) {}", "serve"),
        ("a.go", "package m\n\nvar (\n\tserve = func(n int) {}\n)", "serve"),
        ("a.js", "export default function () { return 1; }", "default"),
        ("a.js", "export default (n) => n;", "default"),
        ("a.js", "export const serve = async (n) => n;", "serve"),
        ("a.ts", "export const serve: Handler<T> = async <T,>(n: T) => n;", "serve"),
    ],
)
def test_functions_that_are_bound_to_a_name(name, source, path):
    assert paths(name, source) == [path]


def test_c():
    source = "#include <x.h>\nstatic int f(void)\n{\n}\nstruct point { int x; };\n"
    assert symbols("a.c", source) == [("function", ("f",)), ("class", ("point",))]


def test_syntax_errors_leave_the_rest_readable():
    source = "def good(): pass\n\ndef broken(:\n  ]]\n\nclass Fine:\n    def m(self): pass\n"
    found = symbols("a.py", source)
    assert ("function", ("good",)) in found
    assert ("function", ("Fine", "m")) in found


@pytest.mark.parametrize("suffix", LANGUAGES)
@pytest.mark.parametrize(
    "source",
    [
        "",
        " \r\n\t",
        "\ufeff",
        "x = 10\0; y = 20\0",
        "é😀\u0301 שלום {",
        "}}}}((((",
        "def f():\r\tpass\r\nclass A {\n",
        '"unclosed',
        "/* unclosed",
    ],
)
def test_any_text_in_any_language(suffix, source):
    text = source.removeprefix("\ufeff")
    document = load_code(source.encode(), uri="memory:x", name=f"x{suffix}")
    assert "".join(text[block.start : block.end] for block in document.blocks) == text


FRAGMENTS = [
    *'(){}[];:,.#@"/*\\\n\r\t =<>é😀\u0301א',
    "\r\n",
    "def f():\n    pass\n",
    "class A",
    "function g() {}",
    "fn h() {}",
    "impl ",
    "struct S ",
    "// c\n",
    "# c\n",
    "#[a]\n",
    "type ",
    "namespace n {",
    "export ",
    "const x = () => 1;",
    "#ifdef X\n",
    "#endif\n",
]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
@pytest.mark.parametrize("suffix", [".py", ".tsx", ".go", ".rs", ".java", ".c", ".cpp"])
def test_blocks_tile_whatever_the_parser_makes_of_it(suffix, source):
    load(f"x{suffix}", source)


def test_definitions_keep_no_byte_offsets():
    source = "# 😀😀😀é\n" * 50 + "def f(): pass\n" + "# 漢字\n\n" + "def g(): pass\n"
    functions = [block for block in load("a.py", source).blocks if block.kind == "function"]
    assert source[functions[1].start : functions[1].end] == "def g(): pass\n"


def test_deep_nesting():
    source = "namespace a{" * 3000 + "}" * 3000
    assert len(load("a.cpp", source).blocks) > 1


def test_many_definitions_on_one_line():
    blocks = load("a.js", "function a(){}" * 20_000).blocks
    assert len(blocks) == 20_000


MORE = {
    "a.sh": ("# Greets.\ngreet() {\n  echo\n}\n", [("function", ("greet",))]),
    "a.css": ("/* c */\n.a::b, i > c {\n d: e;\n}\n", [("function", (".a::b, i > c",))]),
    "a.tf": (
        '# c\nresource "aws_bucket" "b" {\n  a { c = 1 }\n}\nlocals { a = 1 }\n',
        [("function", ("resource aws_bucket b",)), ("function", ("locals",))],
    ),
    "a.lua": (
        "-- c\nlocal function f(a) end\nfunction M.g(x) end\nM.k = function() end\n",
        [("function", ("f",)), ("function", ("M", "g")), ("function", ("M", "k"))],
    ),
    "Makefile": (
        "# c\nall: b\n\techo\n%.o: %.c\n\tcc\n",
        [("function", ("all",)), ("function", ("%.o",))],
    ),
    "a.rb": (
        "module A::B\n  class C\n    # m\n    private def x(a)\n    end\n  end\nend\n",
        [("class", ("A", "B")), ("class", ("A", "B", "C")), ("function", ("A", "B", "C", "x"))],
    ),
    "a.php": (
        "<?php\n/** c */\nclass C {\n  public function m() {}\n}\n$f = function () {};\n",
        [("class", ("C",)), ("function", ("C", "m")), ("function", ("$f",))],
    ),
    "a.cs": (
        "namespace A.B\n{\n  /// <summary>c</summary>\n  class C\n  {\n    int M() => 1;\n  }\n}\n",
        [("class", ("A", "B")), ("class", ("A", "B", "C")), ("function", ("A", "B", "C", "M"))],
    ),
    "a.kt": (
        "/** c */\nclass C(val x: Int) {\n    fun m(): Int = 1\n}\n\nfun String.ext() {}\n",
        [("class", ("C",)), ("function", ("C", "m")), ("function", ("ext",))],
    ),
    "a.scala": (
        "object O {\n  /** c */\n  def q(a: Int): Int = 1\n}\ncase class K(a: Int)\n",
        [("class", ("O",)), ("function", ("O", "q")), ("class", ("K",))],
    ),
    "a.swift": (
        "struct S {\n  init(x: Int) {}\n  /// c\n  func m() {}\n}\n"
        "extension S {\n  func e() {}\n}\n",
        [
            ("class", ("S",)),
            ("function", ("S", "init")),
            ("function", ("S", "m")),
            ("class", ("S",)),
            ("function", ("S", "e")),
        ],
    ),
    "a.sql": (
        "-- c\nCREATE TABLE a.users (id int);\n"
        "CREATE FUNCTION f(a int) RETURNS int AS $$ SELECT 1 $$ "
        "LANGUAGE sql;\n",
        [("class", ("a", "users")), ("function", ("f",))],
    ),
    "a.proto": (
        "// A user.\nmessage User {\n  string n = 1; // n\n  message In { int32 a = 1; }\n}\n"
        "service S {\n  // gets\n  rpc Get(User) returns (User);\n}\n",
        [
            ("class", ("User",)),
            ("class", ("User", "In")),
            ("class", ("S",)),
            ("function", ("S", "Get")),
        ],
    ),
    "Dockerfile": (
        "# base\nFROM --platform=x python:3 AS build\nRUN a \\\n b\nFROM alpine\nCOPY a b\n",
        [("class", ("build",)), ("class", ("alpine",))],
    ),
    "a.vue": (
        '<template>\n  <p>{{ é }}</p>\n</template>\n\n<script setup lang="ts">\n// adds\n'
        "const add = (a: number) => a\n</script>\n",
        [("class", ("template",)), ("class", ("script",)), ("function", ("script", "add"))],
    ),
    "a.svelte": (
        "<script>\n  function inc() {}\n</script>\n<button on:click={inc}>x</button>\n",
        [("class", ("script",)), ("function", ("script", "inc"))],
    ),
}


@pytest.mark.parametrize("name", MORE)
def test_definitions_of_more_languages(name):
    source, expected = MORE[name]
    found = [each for each in symbols(name, source) if each[0] != "code"]
    assert list(dict.fromkeys(found)) == list(dict.fromkeys(expected))


def test_the_comment_above_belongs_to_a_definition_of_every_language():
    for name in ("a.sh", "a.lua", "a.sql", "a.proto", "Dockerfile", "a.tf", "a.css"):
        document = load_code(MORE[name][0].encode(), uri="memory:x", name=name)
        assert document.blocks[0].kind != "code", name


def test_without_the_extra_a_source_is_its_lines(monkeypatch):
    monkeypatch.setitem(sys.modules, "tree_sitter_kotlin", None)
    source = "class A {\n}\n\nfun b() {}\n"
    document = load_code(source.encode(), uri="memory:x", name="a.kt")
    assert [block.kind for block in document.blocks] == ["code", "code"]
    assert document.media_type == "text/x-kotlin"
