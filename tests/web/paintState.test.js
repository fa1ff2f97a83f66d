// @ts-check
import assert from "node:assert/strict";
import test from "node:test";
import * as easels from "../../web/js/paintState.js";
import { blank } from "../../web/js/painting.js";

const GRID = { columns: 6, rows: 6 };
const NEW = easels.setUp(blank(GRID));

/** @param {easels.Easel} easel @param {string[]} keys such as "ctrl+z" */
function typed(easel, ...keys) {
  return keys.reduce((before, combination) => {
    const [key, ...held] = combination.split("+").reverse();
    const holds = (/** @type {string} */ name) => held.includes(name);
    const event = { key, ctrlKey: holds("ctrl"), metaKey: false, shiftKey: holds("shift"), altKey: holds("alt") };
    const after = easels.type(before, event);
    assert.ok(after, `${combination} means nothing`);
    return after;
  }, easel);
}

/** @param {easels.Easel} easel @param {[number, number][]} places column and row */
function dragged(easel, ...places) {
  const [first, ...rest] = places.map(([column, row]) => ({ column, row }));
  return easels.release(rest.reduce(easels.move, easels.press(easel, first)));
}

test("a stroke paints what the brush goes over", () => {
  assert.equal(easels.text(dragged(NEW, [1, 2], [4, 2])), "6x6: 1-4,2");
  assert.equal(easels.text(dragged(easels.resize(NEW, 2), [1, 2], [3, 2])), "6x6: 1-4,2-3");
});

test("a stroke is seen before it is done, and only then part of the painting", () => {
  const easel = easels.press(NEW, { column: 0, row: 0 });
  assert.equal(easels.painted(easel), 1);
  assert.equal(easels.text(easel), "");
  assert.equal(easels.painted(easels.cancel(easel)), 0);
});

test("the eraser takes away, and so does any tool that is told to erase", () => {
  const full = easels.inverted(NEW);
  assert.equal(easels.painted(dragged(easels.take(full, "eraser"), [0, 0], [5, 0])), 30);
  const erasing = easels.press(easels.take(full, "rectangle"), { column: 0, row: 0 }, true);
  assert.equal(easels.painted(easels.release(easels.move(erasing, { column: 1, row: 1 }))), 32);
});

test("a rectangle follows its far corner, back and forth, and beyond the edge", () => {
  assert.equal(easels.text(dragged(easels.take(NEW, "rectangle"), [2, 2], [9, 9], [3, 4])), "6x6: 2-3,2-4");
  assert.equal(easels.text(dragged(easels.take(NEW, "rectangle"), [4, 4], [9, 9])), "6x6: 4-5,4-5");
});

test("undo goes back stroke by stroke, redo forth, until something new is painted", () => {
  const easel = dragged(dragged(NEW, [0, 0]), [1, 1]);
  assert.equal(easels.text(easels.undo(easel)), "6x6: 0,0");
  assert.equal(easels.text(easels.undo(easels.undo(easels.undo(easel)))), "");
  assert.equal(easels.text(easels.redo(easels.undo(easel))), easels.text(easel));
  assert.equal(easels.text(easels.redo(dragged(easels.undo(easel), [2, 2]))), "6x6: 0,0 2,2");
});

test("a stroke that changes nothing is nothing to undo", () => {
  const once = dragged(NEW, [0, 0]);
  assert.equal(easels.text(easels.undo(dragged(once, [0, 0]))), "");
});

test("clearing and inverting can be undone", () => {
  const easel = dragged(NEW, [0, 0]);
  assert.equal(easels.painted(easels.inverted(easel)), 35);
  assert.equal(easels.painted(easels.clear(easel)), 0);
  assert.equal(easels.text(easels.undo(easels.clear(easel))), "6x6: 0,0");
});

test("by keyboard: arrows move, space paints, shift and arrows paint along, control and Z undoes", () => {
  assert.deepEqual(NEW.cursor, { column: 3, row: 3 });
  const dab = typed(NEW, "ArrowLeft", "ArrowUp", " ");
  assert.equal(easels.text(dab), "6x6: 2,2");
  const line = typed(dab, "shift+ArrowRight", "shift+ArrowRight");
  assert.equal(easels.text(line), "6x6: 2-4,2");
  assert.equal(easels.text(typed(line, "ctrl+z")), "6x6: 2-3,2");
  assert.equal(easels.text(typed(line, "ctrl+z", "ctrl+shift+z")), "6x6: 2-4,2");
  assert.equal(easels.text(typed(line, "ctrl+z", "ctrl+y")), "6x6: 2-4,2");
});

test("by keyboard: a rectangle from corner to corner, or given up", () => {
  const corner = typed(NEW, "r", "Home", "PageUp", " ", "ArrowRight", "ArrowDown");
  assert.equal(easels.text(corner), "");
  assert.equal(easels.text(typed(corner, " ")), "6x6: 0-1,0-1");
  assert.equal(easels.text(typed(corner, "Escape")), "");
});

test("by keyboard: tools, brush size, invert, clear", () => {
  const easel = typed(NEW, "]", "]", "[", "b", "End", "PageDown");
  assert.deepEqual([easel.size, easel.tool, easel.cursor], [2, "brush", { column: 5, row: 5 }]);
  assert.equal(typed(NEW, "E").tool, "eraser");
  assert.equal(easels.painted(typed(NEW, "i")), 36);
  assert.equal(easels.painted(typed(NEW, "i", "Delete")), 0);
});

test("keys of the editor stay the editor's", () => {
  for (const key of ["Enter", "Tab", "F1", "q"]) {
    assert.equal(easels.type(NEW, { key, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false }), null);
  }
  assert.equal(easels.type(NEW, { key: "Enter", ctrlKey: true, metaKey: false, shiftKey: false, altKey: false }), null);
  assert.equal(easels.type(NEW, { key: "b", ctrlKey: true, metaKey: false, shiftKey: false, altKey: false }), null);
});

test("the cursor stays on the grid", () => {
  assert.deepEqual(typed(NEW, "PageUp", "ArrowUp", "End", "ArrowRight").cursor, { column: 5, row: 0 });
});

test("a painting on another grid is shown on the model's, and rewritten only when something is painted", () => {
  const easel = easels.onGrid(dragged(NEW, [5, 5]), { columns: 3, rows: 3 });
  assert.deepEqual(easel.cursor, { column: 2, row: 2 });
  assert.equal(easels.painted(easel), 1);
  assert.equal(easels.text(easel), "6x6: 5,5");
  assert.equal(easels.text(dragged(easel, [0, 0])), "3x3: 0,0 2,2");
});

test("the brush shows what it would touch", () => {
  assert.equal(easels.reach(easels.resize(NEW, 3)).length, 9);
  assert.equal(easels.reach(easels.take(easels.resize(NEW, 3), "rectangle")).length, 1);
  assert.equal(easels.resize(NEW, 99).size, easels.LARGEST);
});
