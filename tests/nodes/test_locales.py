"""The names and sentences of the editor, in English as the schemas have them, and translated.

A language is a folder of locales/ with `sentences.json`, from each English sentence to its own. The files that ComfyUI
reads beside it are made from that and from the schemas by this test.
"""

import json
from pathlib import Path

import pytest
from pack.nodes import NODES

LOCALES = Path(__file__).parents[2] / "locales"
LANGUAGES = ("zh", "ja", "ko", "de", "fr", "es")
SCHEMAS = {schema.node_id: schema for schema in (node.GET_SCHEMA() for node in NODES)}
WIDGETS = json.loads((LOCALES / "en" / "main.json").read_text())  # as in web/js/i18n.js: tests/web/i18n.test.js
COMMANDS = {"VQDiffusion_Paint": {"label": WIDGETS["vqDiffusion"]["paintCommand"]}}


def names_of(schema):
    def about(part, name):
        return {"name": part.display_name or name, "tooltip": part.tooltip}

    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {part.id: about(part, part.id) for part in schema.inputs},
        "outputs": {str(i): about(part, part.io_type) for i, part in enumerate(schema.outputs)},
    }


ENGLISH = {
    "nodeDefs.json": {name: names_of(schema) for name, schema in SCHEMAS.items()},
    "main.json": WIDGETS,
    "commands.json": COMMANDS,
}


def leaves(tree):
    return {leaf for term in tree.values() for leaf in leaves(term)} if isinstance(tree, dict) else {tree}


def translated(tree, sentences):
    if isinstance(tree, dict):
        return {key: translated(term, sentences) for key, term in tree.items()}
    return sentences.get(tree, tree)  # what is missing is named by a test of its own


def sentences_of(language):
    return json.loads((LOCALES / language / "sentences.json").read_text())


def check_files(language, files):
    old = []
    for name, content in files.items():
        path, text = LOCALES / language / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            old.append(name)
    assert old == [], (
        f"These files in locales/{language} were out of date and are written anew: look at and commit them."
    )


def test_the_english_names_are_those_of_the_schemas():
    check_files("en", ENGLISH)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_is_translated_and_none_is_left_over(language):
    sentences, wanted = sentences_of(language), leaves(ENGLISH)
    assert sorted(wanted - sentences.keys()) == [], "to be translated"
    assert sorted(sentences.keys() - wanted) == [], "not said any more"
    assert [english for english, own in sentences.items() if not own.strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_gaps_of_its_sentence(language):
    def gaps(sentence):
        return sorted(part.split("}")[0] for part in sentence.split("{")[1:])

    assert [english for english, own in sentences_of(language).items() if gaps(english) != gaps(own)] == []


def test_no_name_has_a_sign_that_the_editor_takes_for_a_gap_or_a_link():
    spoken = leaves(ENGLISH["nodeDefs.json"])
    for sentences in map(sentences_of, LANGUAGES):
        spoken |= {sentences.get(english, "") for english in leaves(ENGLISH["nodeDefs.json"])}
    assert [sentence for sentence in spoken if set("{}@|") & set(sentence)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_files_of_a_language_are_made_of_its_sentences(language):
    sentences = sentences_of(language)
    check_files(language, {name: translated(content, sentences) for name, content in ENGLISH.items()})
