// @ts-check
/**
 * A painting at work: the tool in hand, the cursor, the stroke that is being drawn, and what can be undone. Every
 * function takes a state and gives another one.
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
 * }>} PaintState  `grid` is that of the model; the painting may still be on another one, on which it was painted
 * @typedef {{ key: string, ctrlKey: boolean, metaKey: boolean, shiftKey: boolean, altKey: boolean }} Key
 */

import { arrowTarget, brushCells, clampToGrid, rectangleCells, strokeCells } from "./gridGeometry.js";
import { count, emptyPainting, format, invert as invertCells, paint, toGrid } from "./painting.js";
import * as undoHistory from "./undoHistory.js";

export const MAX_BRUSH_SIZE = 16; // tokens along a side of the brush

/** @type {(painting: Painting) => PaintState} */
export function create(painting) {
  const cursor = { column: Math.floor(painting.columns / 2), row: Math.floor(painting.rows / 2) };
  return { grid: painting, history: undoHistory.begin(painting), tool: "brush", size: 1, cursor, stroke: null };
}

/**
 * The same tools before another painting, as a workflow file brings it. Until a run has shown the model's grid, that of
 * the painting is the best guess.
 * @type {(state: PaintState, painting: Painting, isGridKnown: boolean) => PaintState}
 */
export function replace(state, painting, isGridKnown) {
  const { tool, size, grid } = state;
  return setGrid({ ...create(painting), tool, size }, isGridKnown ? grid : painting);
}

/**
 * The model's grid is known, or is another one now. A run that ends on the same grid leaves the stroke that one is at.
 * @type {(state: PaintState, grid: Grid) => PaintState}
 */
export function setGrid(state, grid) {
  const isSame = grid.columns === state.grid.columns && grid.rows === state.grid.rows;
  return { ...state, grid, cursor: clampToGrid(state.cursor, grid), stroke: isSame ? state.stroke : null };
}

/** What there is to see: the painting on the model's grid, with the stroke that is being drawn.
 * @type {(state: PaintState) => Painting} */
export function visiblePainting({ history, grid, stroke }) {
  return stroke ? stroke.draft : toGrid(history.present, grid);
}

/** What is kept in the workflow. @type {(state: PaintState) => string} */
export function serialize({ history }) {
  return format(history.present);
}

/** @type {(state: PaintState, tool: Tool) => PaintState} */
export function selectTool(state, tool) {
  return { ...state, tool, stroke: null };
}

/** @type {(state: PaintState, size: number) => PaintState} */
export function setBrushSize(state, size) {
  return { ...state, size: Math.min(Math.max(Math.round(size), 1), MAX_BRUSH_SIZE) };
}

/** Begins a stroke; `erases` turns any tool into an eraser. @type {(state: PaintState, cell: Cell, erases?: boolean) => PaintState} */
export function press(state, cell, erases = false) {
  const begun = { from: cell, at: cell, erases: erases || state.tool === "eraser", draft: visiblePainting(state) };
  return move({ ...state, stroke: begun }, cell);
}

/** Takes the cursor there, and a stroke that has begun with it. @type {(state: PaintState, cell: Cell) => PaintState} */
export function move(state, cell) {
  const cursor = clampToGrid(cell, state.grid);
  return { ...state, cursor, stroke: state.stroke && extendStroke(state, state.stroke, cell) };
}

/** @type {(state: PaintState, stroke: Stroke, to: Cell) => Stroke} */
function extendStroke(state, stroke, to) {
  if (state.tool === "rectangle") {
    const before = toGrid(state.history.present, state.grid);
    return { ...stroke, at: to, draft: paint(before, rectangleCells(stroke.from, to), !stroke.erases) };
  }
  return { ...stroke, at: to, draft: paint(stroke.draft, strokeCells(stroke.at, to, state.size), !stroke.erases) };
}

/** Ends the stroke: from now on it can be undone. @type {(state: PaintState) => PaintState} */
export function release(state) {
  return state.stroke ? commit({ ...state, stroke: null }, state.stroke.draft) : state;
}

/** Gives up the stroke that is being drawn. @type {(state: PaintState) => PaintState} */
export function cancel(state) {
  return { ...state, stroke: null };
}

/** @type {(state: PaintState) => PaintState} */
export function clear(state) {
  return commit(cancel(state), emptyPainting(state.grid));
}

/** @type {(state: PaintState) => PaintState} */
export function invert(state) {
  return commit(cancel(state), invertCells(visiblePainting(cancel(state))));
}

/** @type {(state: PaintState) => PaintState} */
export function undo(state) {
  return { ...state, history: undoHistory.undo(state.history), stroke: null };
}

/** @type {(state: PaintState) => PaintState} */
export function redo(state) {
  return { ...state, history: undoHistory.redo(state.history), stroke: null };
}

/** @type {(state: PaintState, painting: Painting) => PaintState} */
function commit(state, painting) {
  if (format(painting) === serialize(state)) return state;
  return { ...state, history: undoHistory.advance(state.history, painting) };
}

/** How many tokens are painted now. @type {(state: PaintState) => number} */
export function countPainted(state) {
  return count(visiblePainting(state));
}

/** The cells that the tool would touch at the cursor. @type {(state: PaintState) => Cell[]} */
export function touchedCells({ tool, cursor, size }) {
  return tool === "rectangle" ? [cursor] : brushCells(cursor, size);
}

/** @type {Record<string, (state: PaintState) => PaintState>} */
const KEYS = {
  " ": dab,
  Escape: cancel,
  Delete: clear,
  Backspace: clear,
  b: (state) => selectTool(state, "brush"),
  e: (state) => selectTool(state, "eraser"),
  r: (state) => selectTool(state, "rectangle"),
  i: invert,
  "[": (state) => setBrushSize(state, state.size - 1),
  "]": (state) => setBrushSize(state, state.size + 1),
  Home: (state) => move(state, { ...state.cursor, column: 0 }),
  End: (state) => move(state, { ...state.cursor, column: state.grid.columns - 1 }),
  PageUp: (state) => move(state, { ...state.cursor, row: 0 }),
  PageDown: (state) => move(state, { ...state.cursor, row: state.grid.rows - 1 }),
};

/** @type {Record<string, (state: PaintState) => PaintState>} */
const WITH_CONTROL = { z: undo, y: redo, Z: redo };

/** What a key does; null if it means nothing here. @type {(state: PaintState, key: Key) => PaintState | null} */
export function handleKey(state, key) {
  if (key.altKey) return null;
  if (key.ctrlKey || key.metaKey) {
    return WITH_CONTROL[key.shiftKey ? key.key.toUpperCase() : key.key]?.(state) ?? null;
  }
  const beside = arrowTarget(state.cursor, key.key);
  if (beside) return stepCursor(state, clampToGrid(beside, state.grid), key.shiftKey);
  return KEYS[key.key.length === 1 ? key.key.toLowerCase() : key.key]?.(state) ?? null;
}

/** The cursor taken to a cell beside; `paints` draws on the way. @type {(state: PaintState, cell: Cell, paints: boolean) => PaintState} */
function stepCursor(state, cell, paints) {
  if (state.stroke || !paints) return move(state, cell);
  return release(move(press(state, state.cursor), cell));
}

/** The tool used at the cursor; a rectangle wants two corners. @type {(state: PaintState) => PaintState} */
function dab(state) {
  const pressed = state.stroke ? state : press(state, state.cursor);
  return state.tool === "rectangle" && !state.stroke ? pressed : release(pressed);
}
