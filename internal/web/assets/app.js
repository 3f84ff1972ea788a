// What the pages do beyond links and forms: take in news without a reload, and the keyboard. Without it all still works.
(() => {
  "use strict";
  const WAIT = 400;       // milliseconds in which several notices become one look; the server counts on it (staleAge)
  const PACE = 1000;      // at most one look in this time
  const REFRESH = 60000;  // ages and last readings grow old by themselves
  const url = document.body.dataset.live;
  const offline = document.getElementById("offline");

  // take replaces the regions of the page by fresh ones of the same address. What was not there before is marked new.
  const take = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    for (const region of document.querySelectorAll("[data-region]")) {
      const next = fresh.getElementById(region.id);
      if (!next || next.innerHTML === region.innerHTML || region.contains(document.activeElement) && /INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)
        || region.querySelector("input[type=checkbox]:checked")) continue; // somebody is choosing
      const known = new Set([...region.querySelectorAll("[data-key]")].map((e) => e.dataset.key));
      const open = new Set([...region.querySelectorAll("details[open]")].map((e) => e.id));
      const focus = region.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      region.replaceChildren(...next.childNodes);
      for (const e of region.querySelectorAll("[data-key]")) if (!known.has(e.dataset.key)) e.classList.add("new");
      for (const e of region.querySelectorAll("details")) if (e.id && open.has(e.id)) e.open = true;
      if (focus) { const e = [...region.querySelectorAll("a")].find((a) => a.getAttribute("href") === focus); if (e) e.focus({ preventScroll: true }); }
    }
  };
  let timer = 0, busy = false, again = false, last = 0;
  const look = async () => {
    timer = 0;
    if (busy) { again = true; return; }
    busy = true;
    try {
      const at = new URL(location.href);
      at.searchParams.set("fragment", "1");
      const answer = await fetch(at, { credentials: "same-origin", cache: "no-store" });
      if (answer.status === 401) { location.reload(); return; }
      if (answer.ok) take(await answer.text());
    } catch { /* the server is away: the live connection says so and comes again */ }
    busy = false;
    last = Date.now();
    if (again) { again = false; soon(); }
  };
  const soon = () => { if (!timer) timer = setTimeout(look, Math.max(WAIT, last + PACE - Date.now())); };

  // The live connection is closed while nobody looks: browsers allow only six to one server.
  let feed = null, retry = 0, lost = false;
  const connect = () => {
    if (!url || feed || document.hidden) return;
    feed = new EventSource(url);
    feed.onopen = () => { document.documentElement.dataset.live = "on"; offline.hidden = true; if (lost) { lost = false; soon(); } };
    feed.onmessage = soon;
    feed.onerror = () => {
      lost = true;
      document.documentElement.dataset.live = "off";
      const closed = feed.readyState === EventSource.CLOSED;
      if (closed) { feed = null; clearTimeout(retry); retry = setTimeout(connect, 5000); }
      setTimeout(() => { if (lost && !document.hidden) offline.hidden = false; }, 4000);
    };
  };
  const leave = () => { if (feed) { feed.close(); feed = null; lost = true; } };
  document.addEventListener("visibilitychange", () => { if (document.hidden) leave(); else connect(); });
  addEventListener("pagehide", leave);
  addEventListener("pageshow", connect);
  if (url) setInterval(() => { if (!document.hidden) soon(); }, REFRESH);

  // j and k go through the rows of the lists, enter opens one, x ticks it, a takes it on (on a case's own page: that case), / goes to the
  // search field.
  let at = -1;
  const rowNow = () => { const e = document.activeElement; return e && e.closest ? e.closest("[data-row]") : null; };
  const takeOn = () => {
    const row = rowNow(), bulk = document.getElementById("bulk"), box = row && row.querySelector("input[name=case]");
    if (box && bulk) {
      for (const other of bulk.querySelectorAll("input[name=case]")) other.checked = other === box;
      bulk.elements.namedItem("do").value = "acknowledge";
      bulk.requestSubmit();
      return;
    }
    const button = document.querySelector("[data-key-a]");
    if (button) button.click();
  };
  document.addEventListener("keydown", (e) => {
    const typing = /INPUT|SELECT|TEXTAREA/.test(e.target.tagName) && e.target.type !== "checkbox";
    if (e.ctrlKey || e.metaKey || e.altKey || typing) return;
    if (e.key === "/") { const q = document.querySelector("input[type=search]"); if (q) { e.preventDefault(); q.focus(); } return; }
    if (e.key === "a") { takeOn(); return; }
    if (e.key === "x") { const row = rowNow(), box = row && row.querySelector("input[name=case]"); if (box) box.checked = !box.checked; return; }
    if (e.key !== "j" && e.key !== "k") return;
    const rows = [...document.querySelectorAll("[data-row] .row-link")];
    if (!rows.length) return;
    const here = rows.indexOf(document.activeElement);
    if (here >= 0) at = here;
    at = Math.min(Math.max(at + (e.key === "j" ? 1 : -1), 0), rows.length - 1);
    rows[at].focus();
    rows[at].scrollIntoView({ block: "nearest" });
  });
  connect();
})();
