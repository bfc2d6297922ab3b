import pytest

from holdfast_protocol.blueprint import yaml_text
from holdfast_protocol.blueprint.documents import path_text, read_documents
from holdfast_protocol.errors import InputError
from support.blueprints import problems_of

FRAME = "apiVersion: v1\nkind: Thing\n"


def value_of(text: str) -> object:
    (document,) = read_documents(f"{FRAME}x: {text}\n")
    return document.value["x"]


@pytest.mark.parametrize("text", ["yes", "No", "on", "OFF"])
def test_old_booleans_are_text_with_a_warning(text: str) -> None:
    (document,) = read_documents(f"{FRAME}x: {text}\n", "f.yaml")
    assert document.value["x"] == text
    assert [(each.line, each.column, each.severity) for each in document.warnings] == [(3, 4, "warning")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("0o644", 420),
        ("0x1F", 31),
        ("-17", -17),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-02", "2024-01-02"),
        ("'0644'", "0644"),
        ('"yes"', "yes"),
        ("|\n  a\n  b", "a\nb\n"),
    ],
)
def test_values_have_the_core_types_of_yaml_1_2(text: str, value: object) -> None:
    found = value_of(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("0644", "octal"),
        ("9223372036854775808", "64 bits"),
        ("1e999", "64 bits"),
        (".inf", "JSON"),
        ("&a 1", "anchor"),
        ("*a", "alias"),
        ("!!int '3'", "tag"),
        ("!mine {}", "tag"),
        ("{<<: 1}", "merge"),
        ("{~: 1}", "empty"),
        ("{a: 1, a: 2}", "duplicate key 'a', first at line 3, column 5"),
        ("[" * 40, "deeper"),
    ],
)
def test_what_could_mean_two_things_is_refused_with_its_place(text: str, part: str) -> None:
    (problem,) = problems_of(read_documents, f"{FRAME}x: {text}\n", "f.yaml")
    assert part in problem.message
    assert (problem.file, problem.line) == ("f.yaml", 3)
    assert problem.column > 0


def test_every_problem_is_said_at_once() -> None:
    text = f"{FRAME}a: &x 1\na: *x\nb: 012\n? [c]\n: 1\n---\nkind: 3\n---\n- 1\n"
    lines = [each.line for each in problems_of(read_documents, text)]
    assert sorted(lines) == [3, 4, 4, 5, 6, 9, 9, 11]


def test_broken_syntax_keeps_the_problems_found_before_it() -> None:
    problems = problems_of(read_documents, f"{FRAME}a: &x 1\nb: [1,\n")
    assert [each.line for each in problems] == [3, 5]


def test_json_is_read_with_its_own_escapes() -> None:
    (document,) = read_documents('{"apiVersion":"v1",\t"kind":"A","x":["\\ud83d\\ude00\\/", 1.5e3, null, true]}')
    assert document.value["x"] == ["\U0001f600/", 1500.0, None, True]


def test_every_value_knows_its_line_and_column() -> None:
    (document,) = read_documents(
        f"{FRAME}spec:\n  list:\n    - name: a\n    - {{name: b}}\n  text: |\n    one\n    two\n"
    )
    assert document.place(("spec", "list", 1, "name")) == (6, 14)
    assert document.key_place(("spec", "text")) == (7, 3)
    assert document.place(("spec", "list", 0, "nothing")) == (5, 7)
    assert document.place_in(("spec", "text"), len("one\nt")) == (9, 0)


def test_documents_of_one_file_keep_their_lines_and_their_own_text() -> None:
    first, second = read_documents(
        "# first\napiVersion: v1\nkind: A\n---\n---\nkind: B\napiVersion: v1\nspec: {name: b}\n"
    )
    assert (first.place(("kind",)), second.place(("kind",))) == ((3, 7), (6, 7))
    assert (first.name, second.name) == ("", "b")
    assert read_documents(second.text)[0].value == second.value
    assert first.text.startswith("# first")


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "x" * (yaml_text.MAX_VALUE + 1),
        "? " + "k" * (yaml_text.MAX_KEY + 1) + "\n: 1",
        "a: \x00",
        'a: "\\0"',
        "a: \ud800",
        "- " * 100_000,
        "[" * 100_000,
        "x" * (yaml_text.MAX_CHARACTERS + 1),
        "a: [" + "1," * (yaml_text.MAX_VALUES + 1) + "]",
    ],
)
def test_what_is_too_much_is_refused_and_quickly(text: str) -> None:
    with pytest.raises(InputError):
        read_documents(text)


def test_thousands_of_problems_are_counted_not_listed() -> None:
    problems = problems_of(read_documents, "a: !x 1\n" + "".join(f"k{index}: !x 1\n" for index in range(5_000)))
    assert len(problems) <= yaml_text.MAX_PROBLEMS + 3
    assert any("and 4901 more" in each.message for each in problems)


def test_a_path_reads_as_people_write_it() -> None:
    assert path_text(("spec", "resources", 0, "data", "a.b")) == 'spec.resources[0].data["a.b"]'
