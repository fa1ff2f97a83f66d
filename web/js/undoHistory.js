// @ts-check
/**
 * What has been, is, and was taken back.
 *
 * @template T
 * @typedef {Readonly<{ past: readonly T[], present: T, future: readonly T[] }>} History
 */

const LONGEST = 100;

/** @template T @param {T} present @returns {History<T>} */
export function begin(present) {
  return { past: [], present, future: [] };
}

/** @template T @param {History<T>} history @param {T} next @returns {History<T>} */
export function advance({ past, present }, next) {
  return { past: [...past, present].slice(-LONGEST), present: next, future: [] };
}

/** @template T @param {History<T>} history @returns {History<T>} */
export function undo(history) {
  const { past, present, future } = history;
  if (past.length === 0) return history;
  return { past: past.slice(0, -1), present: past[past.length - 1], future: [present, ...future] };
}

/** @template T @param {History<T>} history @returns {History<T>} */
export function redo(history) {
  const { past, present, future } = history;
  if (future.length === 0) return history;
  return { past: [...past, present], present: future[0], future: future.slice(1) };
}
