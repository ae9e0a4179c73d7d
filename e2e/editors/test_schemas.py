"""What an editor underlines: nothing that is good, and of what is bad all that is about one field's shape."""

import copy
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import jsonschema
import yaml

TREE = pathlib.Path(__file__).resolve().parents[2]
CASES = TREE / "crates/core/src/resource/cases"
BINARY = os.environ["VIDIMUS_BIN"]

# What a Kubernetes API server says of a schema without CEL (cases/refused.yaml, `cluster`), and of the rules that are one pattern or one choice.
OF_A_SCHEMA = re.compile(
    r"unknown field|Required value|must be of type|Unsupported value|less than or equal|greater than or equal|Too (long|many)|should (be|have)"
    r"|e-mail address of a person|must be letters|a SPIFFE ID is|the name of a model|give exactly one")


def schema(*words):
    ran = subprocess.run([BINARY, "resources", "schema", *words], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def merged(on, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    on = copy.deepcopy(on) if isinstance(on, dict) else {}
    for key, value in patch.items():
        if value is None:
            on.pop(key, None)
        else:
            on[key] = merged(on.get(key), value)
    return on


class Schemas(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.table = yaml.safe_load((CASES / "refused.yaml").read_text())
        cls.kinds = [kind for kind in cls.table if kind != "cases"]
        cls.of = {kind: jsonschema.Draft7Validator(schema(kind)) for kind in cls.kinds}
        cls.of_any = jsonschema.Draft7Validator(schema())
        for validator in (*cls.of.values(), cls.of_any):
            validator.check_schema(validator.schema)

    def told(self, document, kind):
        return [error.message for error in self.of[kind].iter_errors(document)]

    def test_what_is_good_is_not_underlined(self):
        good = [self.table[kind] for kind in self.kinds]
        good += yaml.safe_load_all((CASES / "accepted.yaml").read_text())
        files = (path for path in TREE.glob("examples/**/*.yaml") if not path.name.endswith(".cases.yaml"))
        good += (one for path in files for one in yaml.safe_load_all(path.read_text()) if one and one.get("kind") in self.kinds)
        self.assertGreater(len(good), 30)
        for document in good:
            self.assertEqual(self.told(document, document["kind"]), [], document)
            self.assertTrue(self.of_any.is_valid(document), document)

    def test_what_is_bad_in_its_shape_is(self):
        found = 0
        for case in self.table["cases"]:
            document = merged(self.table[case["base"]], case["patch"])
            errors = self.told(document, case["base"])
            if case["cluster"] == "accepted" or not case["says"]:
                # What a cluster cannot know an editor does not either.
                self.assertEqual(errors, [], case)
            elif OF_A_SCHEMA.search(case["cluster"]):
                self.assertNotEqual(errors, [], case)
                found += 1
        self.assertGreater(found, 50, "the table has fewer of them than it had, or says it in other words")

    def test_of_a_file_of_any_kind_the_one_that_is_named_is_told_of(self):
        document = merged(self.table["Agent"], {"spec": {"riskLevel": "LOW"}})
        errors = list(self.of_any.iter_errors(document))
        self.assertEqual([list(error.absolute_path) for error in errors], [["spec", "riskLevel"]])
        self.assertFalse(self.of_any.is_valid(merged(document, {"kind": "Agnet"})))

    def test_the_line_that_leads_an_editor_there_names_a_file_that_is_written(self):
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run([BINARY, "resources", "schema", "--out", directory + "/.vidimus"], check=True, capture_output=True)
            help_text = subprocess.run([BINARY, "resources", "schema", "--help"], capture_output=True, text=True).stdout
            named = re.search(r"# yaml-language-server: \$schema=(\S+)", help_text).group(1)
            self.assertIn(f"yaml-language-server: $schema={named}", (TREE / "docs/ci.md").read_text())
            self.assertTrue((pathlib.Path(directory) / named).is_file(), named)


if __name__ == "__main__":
    unittest.main()
