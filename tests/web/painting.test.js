// @ts-check
import assert from "node:assert/strict";
import test from "node:test";
import { count, emptyPainting, format, invert, isPainted, paint, parse, toGrid } from "../../web/js/painting.js";

/** A painting drawn with letters: # is painted. @param {string[]} lines */
function sketch(...lines) {
  const cells = Uint8Array.from(lines.join(""), (letter) => Number(letter === "#"));
  return { columns: lines[0].length, rows: lines.length, cells };
}

const TEXTS = [
  { text: "", painting: sketch("...", "...") },
  { text: "3x2: 1-2,0 0,1", painting: sketch(".##", "#..") },
  { text: "4x3: 0-3,0-2", painting: sketch("####", "####", "####") },
  { text: "4x3: 1-2,0-1 1,2 3,2", painting: sketch(".##.", ".##.", ".#.#") },
  { text: "3x3: 0,0 0,2", painting: sketch("#..", "...", "#..") },
  { text: "1x1: 0,0", painting: sketch("#") },
];

for (const { text, painting } of TEXTS) {
  test(`a painting is written as “${text}”`, () => assert.equal(format(painting), text));
}

for (const { text, painting } of TEXTS.slice(1)) {
  test(`“${text}” is read back as it was`, () => assert.deepEqual(parse(text), painting));
}

test("no text is no painting", () => assert.equal(parse("  "), null));

for (const text of ["heart", "0x4:", "257x4:", "4x4", "4x4: 1;2", "4x4: 4,0", "4x4: 0,0-4", "4x4: 2-1,0", "4x4: 1"]) {
  test(`“${text}” is refused`, () => assert.throws(() => parse(text), Error));
}

test("random paintings survive being written and read", () => {
  for (let seed = 1; seed <= 200; seed++) {
    const grid = { columns: 1 + (seed % 7), rows: 1 + (seed % 5) };
    const cells = emptyPainting(grid).cells.map((_, i) => ((seed * 2654435761 + i * 40503) >>> 7) & 1);
    assert.deepEqual(parse(format({ ...grid, cells })) ?? emptyPainting(grid), { ...grid, cells });
  }
});

test("painting leaves the painting before as it was, and nothing beyond the edges", () => {
  const before = emptyPainting({ columns: 3, rows: 2 });
  const after = paint(
    before,
    [
      { column: 1, row: 1 },
      { column: 3, row: 0 },
      { column: -1, row: 1 },
    ],
    true,
  );
  assert.deepEqual(after, sketch("...", ".#."));
  assert.equal(count(before), 0);
  assert.deepEqual(paint(after, [{ column: 1, row: 1 }], false), before);
});

test("inverting twice changes nothing", () => {
  const painting = sketch("#.#", "..#");
  assert.deepEqual(invert(painting), sketch(".#.", "##."));
  assert.deepEqual(invert(invert(painting)), painting);
});

test("on another grid a token counts as soon as any part of it is painted", () => {
  assert.deepEqual(toGrid(sketch(".#", ".."), { columns: 4, rows: 4 }), sketch("..##", "..##", "....", "...."));
  assert.deepEqual(toGrid(sketch("#...", "....", "....", "...."), { columns: 2, rows: 2 }), sketch("#.", ".."));
  assert.deepEqual(toGrid(sketch("#.", ".."), { columns: 3, rows: 3 }), sketch("##.", "##.", "..."));
  assert.equal(isPainted(toGrid(sketch("#"), { columns: 9, rows: 2 }), { column: 8, row: 1 }), true);
});
