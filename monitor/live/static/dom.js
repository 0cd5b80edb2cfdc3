// The few things this page does to its document. Nothing is written that has not changed.

/** An element with a class and children (text or elements). */
export function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

export function attribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** A number on the page: what people read, and the exact value it stands for. */
export function number(element, shown, exact) {
  text(element, shown);
  attribute(element, "data-value", exact === null || exact === undefined ? "" : String(exact));
}

/**
 * Let the children of `parent` be one per item, in order, reusing those that are there.
 * @param {(item) => string} key
 * @param {() => Element} create  a new child
 * @param {(child, item) => void} update
 */
export function list(parent, items, key, create, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const name = key(item);
    let child = old.get(name);
    if (child) {
      old.delete(name);
    } else {
      child = create();
      child.dataset.key = name;
    }
    update(child, item);
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  for (const child of old.values()) child.remove();
}
