// @ts-check
import assert from "node:assert/strict";
import test from "node:test";
import { emptyPainting } from "../../web/js/painting.js";
import * as paintState from "../../web/js/paintState.js";

const GRID = { columns: 6, rows: 6 };
const NEW = paintState.create(emptyPainting(GRID));

/** @param {paintState.PaintState} state @param {string[]} keys such as "ctrl+z" */
function pressKeys(state, ...keys) {
  return keys.reduce((before, combination) => {
    const [key, ...held] = combination.split("+").reverse();
    const holds = (/** @type {string} */ name) => held.includes(name);
    const event = { key, ctrlKey: holds("ctrl"), metaKey: false, shiftKey: holds("shift"), altKey: holds("alt") };
    const after = paintState.handleKey(before, event);
    assert.ok(after, `${combination} means nothing`);
    return after;
  }, state);
}

/** @param {paintState.PaintState} state @param {[number, number][]} places column and row */
function drag(state, ...places) {
  const [first, ...rest] = places.map(([column, row]) => ({ column, row }));
  return paintState.release(rest.reduce(paintState.move, paintState.press(state, first)));
}

test("a stroke paints what the brush goes over", () => {
  assert.equal(paintState.serialize(drag(NEW, [1, 2], [4, 2])), "6x6: 1-4,2");
  assert.equal(paintState.serialize(drag(paintState.setBrushSize(NEW, 2), [1, 2], [3, 2])), "6x6: 1-4,2-3");
});

test("a stroke is seen before it is done, and only then part of the painting", () => {
  const state = paintState.press(NEW, { column: 0, row: 0 });
  assert.equal(paintState.countPainted(state), 1);
  assert.equal(paintState.serialize(state), "");
  assert.equal(paintState.countPainted(paintState.cancel(state)), 0);
});

test("the eraser takes away, and so does any tool that is told to erase", () => {
  const full = paintState.invert(NEW);
  assert.equal(paintState.countPainted(drag(paintState.selectTool(full, "eraser"), [0, 0], [5, 0])), 30);
  const erasing = paintState.press(paintState.selectTool(full, "rectangle"), { column: 0, row: 0 }, true);
  assert.equal(paintState.countPainted(paintState.release(paintState.move(erasing, { column: 1, row: 1 }))), 32);
});

test("a rectangle follows its far corner, back and forth, and beyond the edge", () => {
  assert.equal(
    paintState.serialize(drag(paintState.selectTool(NEW, "rectangle"), [2, 2], [9, 9], [3, 4])),
    "6x6: 2-3,2-4",
  );
  assert.equal(paintState.serialize(drag(paintState.selectTool(NEW, "rectangle"), [4, 4], [9, 9])), "6x6: 4-5,4-5");
});

test("undo goes back stroke by stroke, redo forth, until something new is painted", () => {
  const state = drag(drag(NEW, [0, 0]), [1, 1]);
  assert.equal(paintState.serialize(paintState.undo(state)), "6x6: 0,0");
  assert.equal(paintState.serialize(paintState.undo(paintState.undo(paintState.undo(state)))), "");
  assert.equal(paintState.serialize(paintState.redo(paintState.undo(state))), paintState.serialize(state));
  assert.equal(paintState.serialize(paintState.redo(drag(paintState.undo(state), [2, 2]))), "6x6: 0,0 2,2");
});

test("a stroke that changes nothing is nothing to undo", () => {
  const once = drag(NEW, [0, 0]);
  assert.equal(paintState.serialize(paintState.undo(drag(once, [0, 0]))), "");
});

test("clearing and inverting can be undone", () => {
  const state = drag(NEW, [0, 0]);
  assert.equal(paintState.countPainted(paintState.invert(state)), 35);
  assert.equal(paintState.countPainted(paintState.clear(state)), 0);
  assert.equal(paintState.serialize(paintState.undo(paintState.clear(state))), "6x6: 0,0");
});

test("by keyboard: arrows move, space paints, shift and arrows paint along, control and Z undoes", () => {
  assert.deepEqual(NEW.cursor, { column: 3, row: 3 });
  const dab = pressKeys(NEW, "ArrowLeft", "ArrowUp", " ");
  assert.equal(paintState.serialize(dab), "6x6: 2,2");
  const line = pressKeys(dab, "shift+ArrowRight", "shift+ArrowRight");
  assert.equal(paintState.serialize(line), "6x6: 2-4,2");
  assert.equal(paintState.serialize(pressKeys(line, "ctrl+z")), "6x6: 2-3,2");
  assert.equal(paintState.serialize(pressKeys(line, "ctrl+z", "ctrl+shift+z")), "6x6: 2-4,2");
  assert.equal(paintState.serialize(pressKeys(line, "ctrl+z", "ctrl+y")), "6x6: 2-4,2");
});

test("by keyboard: a rectangle from corner to corner, or given up", () => {
  const corner = pressKeys(NEW, "r", "Home", "PageUp", " ", "ArrowRight", "ArrowDown");
  assert.equal(paintState.serialize(corner), "");
  assert.equal(paintState.serialize(pressKeys(corner, " ")), "6x6: 0-1,0-1");
  assert.equal(paintState.serialize(pressKeys(corner, "Escape")), "");
});

test("by keyboard: tools, brush size, invert, clear", () => {
  const state = pressKeys(NEW, "]", "]", "[", "b", "End", "PageDown");
  assert.deepEqual([state.size, state.tool, state.cursor], [2, "brush", { column: 5, row: 5 }]);
  assert.equal(pressKeys(NEW, "E").tool, "eraser");
  assert.equal(paintState.countPainted(pressKeys(NEW, "i")), 36);
  assert.equal(paintState.countPainted(pressKeys(NEW, "i", "Delete")), 0);
});

test("keys of the editor stay the editor's", () => {
  for (const key of ["Enter", "Tab", "F1", "q"]) {
    assert.equal(
      paintState.handleKey(NEW, { key, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false }),
      null,
    );
  }
  assert.equal(
    paintState.handleKey(NEW, { key: "Enter", ctrlKey: true, metaKey: false, shiftKey: false, altKey: false }),
    null,
  );
  assert.equal(
    paintState.handleKey(NEW, { key: "b", ctrlKey: true, metaKey: false, shiftKey: false, altKey: false }),
    null,
  );
});

test("the cursor stays on the grid", () => {
  assert.deepEqual(pressKeys(NEW, "PageUp", "ArrowUp", "End", "ArrowRight").cursor, { column: 5, row: 0 });
});

test("a painting on another grid is shown on the model's, and rewritten only when something is painted", () => {
  const state = paintState.setGrid(drag(NEW, [5, 5]), { columns: 3, rows: 3 });
  assert.deepEqual(state.cursor, { column: 2, row: 2 });
  assert.equal(paintState.countPainted(state), 1);
  assert.equal(paintState.serialize(state), "6x6: 5,5");
  assert.equal(paintState.serialize(drag(state, [0, 0])), "3x3: 0,0 2,2");
});

test("a run that ends meanwhile leaves the stroke, but for one on another grid", () => {
  const pressed = paintState.press(NEW, { column: 1, row: 1 });
  assert.equal(paintState.serialize(paintState.release(paintState.setGrid(pressed, { ...GRID }))), "6x6: 1,1");
  assert.equal(paintState.setGrid(pressed, { ...GRID, rows: 7 }).stroke, null);
});

test("the brush shows what it would touch", () => {
  assert.equal(paintState.touchedCells(paintState.setBrushSize(NEW, 3)).length, 9);
  assert.equal(paintState.touchedCells(paintState.selectTool(paintState.setBrushSize(NEW, 3), "rectangle")).length, 1);
  assert.equal(paintState.setBrushSize(NEW, 99).size, paintState.MAX_BRUSH_SIZE);
});
