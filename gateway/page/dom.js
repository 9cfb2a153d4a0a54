// Making and changing elements, the only way this page touches the document.
//
// Text from outside goes through textContent and attributes only, never through markup, so
// a zone called "<script>" is a zone with an odd name. No style attributes either: the
// Content-Security-Policy forbids them; looks live in page.css.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

const fill = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const child of children) {
    if (child !== null && child !== undefined) {
      node.append(child);
    }
  }
  return node;
};

// An HTML element; children are nodes or strings (strings become text).
export const make = (name, attributes = {}, ...children) =>
  fill(document.createElement(name), attributes, children);

// The same for SVG.
export const draw = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG_NAMESPACE, name), attributes, children);

// Write text only when it differs: a page open all day should not repaint for nothing,
// and a live region must not speak the same sentence twice.
export const setText = (node, text) => {
  if (node.textContent !== text) {
    node.textContent = text;
  }
};

export const setAttribute = (node, name, value) => {
  const text = String(value);
  if (node.getAttribute(name) !== text) {
    node.setAttribute(name, text);
  }
};

export const byId = (id) => document.getElementById(id);
