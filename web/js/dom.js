// @ts-check
/** Making elements. */

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string>} [attributes]
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * A button that shows a drawing of 24 by 24 and says what it does.
 * @param {string} label
 * @param {string} path  the drawing, as the `d` of an SVG path
 * @param {() => void} press
 * @returns {HTMLButtonElement}
 */
export function iconButton(label, path, press) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  drawing.append(line);
  const button = make("button", { type: "button", "aria-label": label, title: label }, drawing);
  button.addEventListener("click", press);
  return button;
}
