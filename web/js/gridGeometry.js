// @ts-check
/**
 * Geometry on a token grid: which cells a tool touches. Cells may lie beyond the edges.
 *
 * @typedef {import("./painting.js").Cell} Cell
 * @typedef {import("./painting.js").Grid} Grid
 * @typedef {{ x: number, y: number }} Point
 * @typedef {{ left: number, top: number, width: number, height: number }} Box
 */

/**
 * Where on an area of this size the grid lies: as large as fits, in the middle, its cells square.
 * @type {(width: number, height: number, grid: Grid) => Box}
 */
export function fitGrid(width, height, { columns, rows }) {
  const cell = Math.min(width / columns, height / rows);
  const [across, down] = [cell * columns, cell * rows];
  return { left: (width - across) / 2, top: (height - down) / 2, width: across, height: down };
}

/** The cell at a point, which may be beyond the edges. @type {(point: Point, box: Box, grid: Grid) => Cell} */
export function cellAt({ x, y }, box, { columns, rows }) {
  return {
    column: Math.floor(((x - box.left) / box.width) * columns),
    row: Math.floor(((y - box.top) / box.height) * rows),
  };
}

/** @type {(cell: Cell, grid: Grid) => boolean} */
export function isOnGrid({ column, row }, { columns, rows }) {
  return column >= 0 && column < columns && row >= 0 && row < rows;
}

/** The nearest cell that is on the grid. @type {(cell: Cell, grid: Grid) => Cell} */
export function clampToGrid({ column, row }, { columns, rows }) {
  return {
    column: Math.min(Math.max(column, 0), columns - 1),
    row: Math.min(Math.max(row, 0), rows - 1),
  };
}

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The cell that an arrow key leads to, which may be beyond the edges; null for other keys.
 * @type {(from: Cell, key: string) => Cell | null} */
export function arrowTarget(from, key) {
  const [right, down] = ARROWS[key] ?? [0, 0];
  return key in ARROWS ? { column: from.column + right, row: from.row + down } : null;
}

/** A square of `size` cells a side; an even one has its middle at the upper left corner of the cell's far side.
 * @type {(middle: Cell, size: number) => Cell[]} */
export function brushCells(middle, size) {
  const before = Math.floor((size - 1) / 2);
  const [column, row] = [middle.column - before, middle.row - before];
  return rectangleCells({ column, row }, { column: column + size - 1, row: row + size - 1 });
}

/** All cells between two corners. @type {(from: Cell, to: Cell) => Cell[]} */
export function rectangleCells(from, to) {
  const [left, right] = [Math.min(from.column, to.column), Math.max(from.column, to.column)];
  const [top, bottom] = [Math.min(from.row, to.row), Math.max(from.row, to.row)];
  const cells = [];
  for (let row = top; row <= bottom; row++) {
    for (let column = left; column <= right; column++) cells.push({ column, row });
  }
  return cells;
}

/** What the brush touches on its straight way between two cells. @type {(from: Cell, to: Cell, size: number) => Cell[]} */
export function strokeCells(from, to, size) {
  const steps = Math.max(Math.abs(to.column - from.column), Math.abs(to.row - from.row), 1);
  return Array.from({ length: steps + 1 }, (_, i) => ({
    column: Math.round(from.column + ((to.column - from.column) * i) / steps),
    row: Math.round(from.row + ((to.row - from.row) * i) / steps),
  })).flatMap((cell) => brushCells(cell, size));
}
