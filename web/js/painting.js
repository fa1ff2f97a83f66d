// @ts-check
/**
 * A painted region of a token grid, and its text in a workflow file: `12x12: 4-7,3-6 9,8` is a grid of 12 columns and
 * 12 rows on which the columns 4 to 7 of the rows 3 to 6 are painted, and the token in column 9 of row 8. Both count
 * from 0. nodes/painting.py reads the same.
 *
 * @typedef {{ columns: number, rows: number }} Grid
 * @typedef {Readonly<Grid & { cells: Uint8Array }>} Painting  1 where painted, row by row; never changed, only replaced
 * @typedef {{ column: number, row: number }} Cell
 */

const MOST = 256;
const GRID = /^(\d{1,3})x(\d{1,3}):$/;
const RECTANGLE = /^(\d{1,3})(?:-(\d{1,3}))?,(\d{1,3})(?:-(\d{1,3}))?$/;

/** @type {(grid: Grid) => Painting} */
export function emptyPainting({ columns, rows }) {
  return { columns, rows, cells: new Uint8Array(columns * rows) };
}

/**
 * The painting of a text; null if the text is empty.
 * @param {string} text
 * @returns {Painting | null}
 * @throws {Error} for what is no painting
 */
export function parse(text) {
  const [head, ...parts] = text.trim().split(/\s+/);
  if (!head) return null;
  const painting = emptyPainting(parseGrid(head));
  for (const part of parts) {
    const { left, right, top, bottom } = parseRectangle(part, painting);
    for (let row = top; row <= bottom; row++) {
      painting.cells.fill(1, row * painting.columns + left, row * painting.columns + right + 1);
    }
  }
  return painting;
}

/** @type {(head: string) => Grid} */
function parseGrid(head) {
  const [columns, rows] = (GRID.exec(head) ?? []).slice(1).map(Number);
  if (!(columns > 0 && rows > 0 && columns <= MOST && rows <= MOST)) {
    throw new Error(`“${head.slice(0, 40)}”`);
  }
  return { columns, rows };
}

/** @type {(part: string, grid: Grid) => { left: number, right: number, top: number, bottom: number }} */
function parseRectangle(part, { columns, rows }) {
  const [, left, right = left, top, bottom = top] = RECTANGLE.exec(part) ?? [];
  const rectangle = { left: Number(left), right: Number(right), top: Number(top), bottom: Number(bottom) };
  const fits = rectangle.left <= rectangle.right && rectangle.right < columns;
  if (!(fits && rectangle.top <= rectangle.bottom && rectangle.bottom < rows)) {
    throw new Error(`“${part.slice(0, 40)}”`);
  }
  return rectangle;
}

/**
 * The text of a painting: runs of columns, and rows with the same run below each other in one. Empty if nothing is
 * painted.
 * @param {Painting} painting
 * @returns {string}
 */
export function format(painting) {
  /** @type {{ across: string, top: number, bottom: number }[]} */
  const rectangles = [];
  for (let row = 0; row < painting.rows; row++) {
    for (const across of runs(painting, row)) {
      const above = rectangles.find((rectangle) => rectangle.across === across && rectangle.bottom === row - 1);
      if (above) above.bottom = row;
      else rectangles.push({ across, top: row, bottom: row });
    }
  }
  if (rectangles.length === 0) return "";
  const parts = rectangles.map(({ across, top, bottom }) => `${across},${span(top, bottom)}`);
  return [`${painting.columns}x${painting.rows}:`, ...parts].join(" ");
}

/** The painted columns of a row, each run without a gap as text. @type {(painting: Painting, row: number) => string[]} */
function runs({ columns, cells }, row) {
  const line = cells.subarray(row * columns, (row + 1) * columns);
  const found = [];
  for (let first = line.indexOf(1); first !== -1; ) {
    const gap = line.indexOf(0, first);
    const end = gap === -1 ? columns : gap;
    found.push(span(first, end - 1));
    first = line.indexOf(1, end);
  }
  return found;
}

/** @type {(first: number, last: number) => string} */
function span(first, last) {
  return first === last ? `${first}` : `${first}-${last}`;
}

/** The painting with these cells painted, or not; cells beyond its edges do not count.
 * @type {(painting: Painting, cells: Iterable<Cell>, painted: boolean) => Painting} */
export function paint(painting, cells, painted) {
  const changed = painting.cells.slice();
  for (const { column, row } of cells) {
    if (column >= 0 && column < painting.columns && row >= 0 && row < painting.rows) {
      changed[row * painting.columns + column] = Number(painted);
    }
  }
  return { ...painting, cells: changed };
}

/** @type {(painting: Painting) => Painting} */
export function invert(painting) {
  return { ...painting, cells: painting.cells.map((painted) => 1 - painted) };
}

/** Whether a cell is painted; none beyond the edges is. @type {(painting: Painting, cell: Cell) => boolean} */
export function isPainted({ columns, cells }, { column, row }) {
  return column >= 0 && column < columns && cells[row * columns + column] === 1;
}

/** How many tokens are painted. @type {(painting: Painting) => number} */
export function count(painting) {
  return painting.cells.reduce((sum, painted) => sum + painted, 0);
}

/**
 * The painting laid over another grid: a token counts as soon as any part of it is painted, as in the node itself.
 * @type {(painting: Painting, grid: Grid) => Painting}
 */
export function toGrid(painting, grid) {
  if (painting.columns === grid.columns && painting.rows === grid.rows) return painting;
  const cells = new Uint8Array(grid.columns * grid.rows);
  for (let row = 0; row < painting.rows; row++) {
    const below = overlappedParts(row, painting.rows, grid.rows);
    for (let column = 0; column < painting.columns; column++) {
      if (!isPainted(painting, { column, row })) continue;
      const beside = overlappedParts(column, painting.columns, grid.columns);
      for (const y of below) for (const x of beside) cells[y * grid.columns + x] = 1;
    }
  }
  return { ...grid, cells };
}

/** Which of `to` equal parts of a side the part `index` of `from` touches.
 * @type {(index: number, from: number, to: number) => number[]} */
function overlappedParts(index, from, to) {
  const first = Math.floor((index * to) / from);
  const end = Math.ceil(((index + 1) * to) / from);
  return Array.from({ length: end - first }, (_, i) => first + i);
}
