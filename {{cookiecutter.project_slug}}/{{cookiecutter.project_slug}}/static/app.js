// All pages work without this; it spares people what a slow answer does to them.

// A second click on a button sends nothing while the first is under way.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "true";
  form.setAttribute("aria-busy", "true");
});

// Back from another page, as the browser kept this one: forms can be sent again, and no password is
// left in them.
window.addEventListener("pageshow", (event) => {
  for (const form of document.forms) {
    delete form.dataset.sent;
    form.removeAttribute("aria-busy");
  }
  if (event.persisted) {
    for (const field of document.querySelectorAll('input[type="password"]')) {
      field.value = "";
    }
  }
});
