// Building pages. Text only ever becomes a text node, so names and models' answers cannot bring HTML with them.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `properties`: on… are listeners, `class`, booleans set or leave out an attribute, the rest are attributes. */
export function h(name, properties = {}, ...children) {
  return build(document.createElement(name), properties, children);
}

/** An element of a picture. */
export function svg(name, properties = {}, ...children) {
  return build(document.createElementNS(SVG, name), properties, children);
}

function build(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...flat(children));
  return element;
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Put these in the place of what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

let fields = 0;

/** A labelled field; `hint` is read out with it. */
export function field(label, control, hint = "") {
  fields += 1;
  control.id ||= `field-${fields}`;
  const note = hint ? h("small", { id: `${control.id}-hint`, class: "hint" }, hint) : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, note);
}

/** A choice between `[value, text]` pairs. */
export function select(options, properties = {}) {
  return h("select", properties, options.map(([value, text]) => h("option", { value }, text)));
}

/** A table that scrolls by itself where it is wider than the screen. */
export function table(caption, headings, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {},
      h("thead", {}, h("tr", {}, headings.map((heading) => h("th", { scope: "col" }, heading)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))));
}

/** Facts as pairs of name and value; those without a value are left out. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return h("dl", { class: "facts" }, known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** A word in a coloured capsule; `tone` is good, warn, bad or plain. */
export function badge(text, tone = "plain") {
  return h("span", { class: `badge ${tone}` }, text);
}

/** What is shown where there is nothing yet. */
export function empty(...children) {
  return h("p", { class: "empty" }, children);
}

/** Run an action from a button, which is disabled meanwhile. */
export function action(text, run, properties = {}) {
  const button = h("button", { type: "button", ...properties, onclick: async () => {
    button.disabled = true;
    try {
      await run();
    } finally {
      button.disabled = false;
    }
  } }, text);
  return button;
}

/** Ask before something that cannot be taken back; gives whether it was confirmed, and the text typed where `asks` names one. */
export function confirmed(title, body, yes, asks = "") {
  return new Promise((resolve) => {
    const answer = asks ? h("input", { required: true, maxlength: "1000" }) : null;
    const dialog = h("dialog", { "aria-label": title },
      h("form", { method: "dialog" },
        h("h2", {}, title), body, answer && field(asks, answer),
        h("div", { class: "actions" },
          h("button", { value: "yes", class: "primary" }, yes),
          h("button", { value: "no", formnovalidate: true }, "Cancel"))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve({ yes: dialog.returnValue === "yes", text: answer ? answer.value : "" });
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
