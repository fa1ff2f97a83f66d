// @ts-check
/**
 * A painting at work: the tool in hand, the cursor, the stroke that is being drawn, and what can be undone. Every
 * function takes an easel and gives another one.
 *
 * @typedef {import("./painting.js").Cell} Cell
 * @typedef {import("./painting.js").Grid} Grid
 * @typedef {import("./painting.js").Painting} Painting
 * @typedef {"brush" | "eraser" | "rectangle"} Tool
 * @typedef {Readonly<{ from: Cell, at: Cell, erases: boolean, draft: Painting }>} Stroke
 * @typedef {Readonly<{
 *   grid: Grid,
 *   history: import("./undoHistory.js").History<Painting>,
 *   tool: Tool,
 *   size: number,
 *   cursor: Cell,
 *   stroke: Stroke | null,
 * }>} Easel  `grid` is that of the model; the painting may still be on another one, on which it was painted
 * @typedef {{ key: string, ctrlKey: boolean, metaKey: boolean, shiftKey: boolean, altKey: boolean }} Key
 */

import * as past from "./undoHistory.js";
import { blank, count, format, invert, layOver, paint } from "./painting.js";
import { brush, clamped, rectangle, stroke as swept } from "./gridGeometry.js";

export const LARGEST = 16; // tokens along a side of the brush

/** @type {(painting: Painting) => Easel} */
export function setUp(painting) {
  const cursor = { column: Math.floor(painting.columns / 2), row: Math.floor(painting.rows / 2) };
  return { grid: painting, history: past.begin(painting), tool: "brush", size: 1, cursor, stroke: null };
}

/**
 * The same tools before another painting, as a workflow file brings it. Until a run has shown the model's grid, that of
 * the painting is the best guess.
 * @type {(easel: Easel, painting: Painting, isGridKnown: boolean) => Easel}
 */
export function replace(easel, painting, isGridKnown) {
  const { tool, size, grid } = easel;
  return onGrid({ ...setUp(painting), tool, size }, isGridKnown ? grid : painting);
}

/** The model's grid is known, or is another one now. @type {(easel: Easel, grid: Grid) => Easel} */
export function onGrid(easel, grid) {
  return { ...easel, grid, cursor: clamped(easel.cursor, grid), stroke: null };
}

/** What there is to see: the painting on the model's grid, with the stroke that is being drawn.
 * @type {(easel: Easel) => Painting} */
export function shown({ history, grid, stroke }) {
  return stroke ? stroke.draft : layOver(history.present, grid);
}

/** What is kept in the workflow. @type {(easel: Easel) => string} */
export function text({ history }) {
  return format(history.present);
}

/** @type {(easel: Easel, tool: Tool) => Easel} */
export function take(easel, tool) {
  return { ...easel, tool, stroke: null };
}

/** @type {(easel: Easel, size: number) => Easel} */
export function resize(easel, size) {
  return { ...easel, size: Math.min(Math.max(Math.round(size), 1), LARGEST) };
}

/** Begins a stroke; `erases` turns any tool into an eraser. @type {(easel: Easel, cell: Cell, erases?: boolean) => Easel} */
export function press(easel, cell, erases = false) {
  const begun = { from: cell, at: cell, erases: erases || easel.tool === "eraser", draft: shown(easel) };
  return move({ ...easel, stroke: begun }, cell);
}

/** Takes the cursor there, and a stroke that has begun with it. @type {(easel: Easel, cell: Cell) => Easel} */
export function move(easel, cell) {
  const cursor = clamped(cell, easel.grid);
  return { ...easel, cursor, stroke: easel.stroke && drawn(easel, easel.stroke, cell) };
}

/** @type {(easel: Easel, stroke: Stroke, to: Cell) => Stroke} */
function drawn(easel, stroke, to) {
  if (easel.tool === "rectangle") {
    const before = layOver(easel.history.present, easel.grid);
    return { ...stroke, at: to, draft: paint(before, rectangle(stroke.from, to), !stroke.erases) };
  }
  return { ...stroke, at: to, draft: paint(stroke.draft, swept(stroke.at, to, easel.size), !stroke.erases) };
}

/** Ends the stroke: from now on it can be undone. @type {(easel: Easel) => Easel} */
export function release(easel) {
  return easel.stroke ? commit({ ...easel, stroke: null }, easel.stroke.draft) : easel;
}

/** Gives up the stroke that is being drawn. @type {(easel: Easel) => Easel} */
export function cancel(easel) {
  return { ...easel, stroke: null };
}

/** @type {(easel: Easel) => Easel} */
export function clear(easel) {
  return commit(cancel(easel), blank(easel.grid));
}

/** @type {(easel: Easel) => Easel} */
export function inverted(easel) {
  return commit(cancel(easel), invert(shown(cancel(easel))));
}

/** @type {(easel: Easel) => Easel} */
export function undo(easel) {
  return { ...easel, history: past.undo(easel.history), stroke: null };
}

/** @type {(easel: Easel) => Easel} */
export function redo(easel) {
  return { ...easel, history: past.redo(easel.history), stroke: null };
}

/** @type {(easel: Easel, painting: Painting) => Easel} */
function commit(easel, painting) {
  if (format(painting) === text(easel)) return easel;
  return { ...easel, history: past.advance(easel.history, painting) };
}

/** How many tokens are painted now. @type {(easel: Easel) => number} */
export function painted(easel) {
  return count(shown(easel));
}

/** The cells that the tool would touch at the cursor. @type {(easel: Easel) => Cell[]} */
export function reach({ tool, cursor, size }) {
  return tool === "rectangle" ? [cursor] : brush(cursor, size);
}

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @type {Record<string, (easel: Easel) => Easel>} */
const KEYS = {
  " ": dab,
  Escape: cancel,
  Delete: clear,
  Backspace: clear,
  b: (easel) => take(easel, "brush"),
  e: (easel) => take(easel, "eraser"),
  r: (easel) => take(easel, "rectangle"),
  i: inverted,
  "[": (easel) => resize(easel, easel.size - 1),
  "]": (easel) => resize(easel, easel.size + 1),
  Home: (easel) => move(easel, { ...easel.cursor, column: 0 }),
  End: (easel) => move(easel, { ...easel.cursor, column: easel.grid.columns - 1 }),
  PageUp: (easel) => move(easel, { ...easel.cursor, row: 0 }),
  PageDown: (easel) => move(easel, { ...easel.cursor, row: easel.grid.rows - 1 }),
};

/** @type {Record<string, (easel: Easel) => Easel>} */
const WITH_CONTROL = { z: undo, y: redo, Z: redo };

/** What a key does; null if it means nothing here. @type {(easel: Easel, key: Key) => Easel | null} */
export function type(easel, key) {
  if (key.altKey) return null;
  if (key.ctrlKey || key.metaKey) {
    return WITH_CONTROL[key.shiftKey ? key.key.toUpperCase() : key.key]?.(easel) ?? null;
  }
  const beside = arrow(easel.cursor, key.key);
  if (beside) return step(easel, clamped(beside, easel.grid), key.shiftKey);
  return KEYS[key.key.length === 1 ? key.key.toLowerCase() : key.key]?.(easel) ?? null;
}

/** The cell that an arrow key leads to, which may be beyond the edges; null for other keys.
 * @type {(from: Cell, key: string) => Cell | null} */
export function arrow(from, key) {
  const [right, down] = ARROWS[key] ?? [0, 0];
  return key in ARROWS ? { column: from.column + right, row: from.row + down } : null;
}

/** The cursor taken to a cell beside; `paints` draws on the way. @type {(easel: Easel, cell: Cell, paints: boolean) => Easel} */
function step(easel, cell, paints) {
  if (easel.stroke || !paints) return move(easel, cell);
  return release(move(press(easel, easel.cursor), cell));
}

/** The tool used at the cursor; a rectangle wants two corners. @type {(easel: Easel) => Easel} */
function dab(easel) {
  const pressed = easel.stroke ? easel : press(easel, easel.cursor);
  return easel.tool === "rectangle" && !easel.stroke ? pressed : release(pressed);
}
