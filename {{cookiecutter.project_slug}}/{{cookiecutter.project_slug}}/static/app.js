// All pages work without this; it spares people what a slow answer does to them.

// A second click on a button sends nothing while the first is under way. After some seconds it does:
// people may have stopped the first, or it was a download, which leaves the page as it is.
const waitMs = 8000;
const sent = new WeakMap();

function allow(form) {
  clearTimeout(sent.get(form));
  sent.delete(form);
  form.removeAttribute("aria-busy");
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (sent.has(form)) {
    event.preventDefault();
  } else if (!event.defaultPrevented) {  // by a script of the page, which sends it by itself
    sent.set(form, setTimeout(allow, waitMs, form));
    form.setAttribute("aria-busy", "true");
  }
});

// Back from another page, as the browser kept this one: forms can be sent again, and no password is
// left in them.
window.addEventListener("pageshow", (event) => {
  for (const form of document.forms) {
    allow(form);
  }
  if (event.persisted) {
    for (const field of document.querySelectorAll('input[type="password"]')) {
      field.value = "";
    }
  }
});
