// @ts-check
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { ENGLISH, fill } from "../../web/js/i18n.js";

test("the English messages that are translated are those of the widgets", () => {
  const file = new URL("../../locales/en/main.json", import.meta.url);
  assert.deepEqual(JSON.parse(readFileSync(file, "utf8")).vqDiffusion, ENGLISH);
});

test("a sentence's gaps are filled, and one without a value stays", () => {
  assert.equal(fill("{painted} of {all} {x}", { painted: 0, all: 144 }), "0 of 144 {x}");
});
