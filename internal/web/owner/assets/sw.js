// The service worker: it shows push messages, posts what a person answers with their buttons, and has a page for when there is no
// connection. It keeps no message and no token beyond the notification that shows it.
"use strict";

const CACHE = "aftercare-@VERSION@";
const WORDS = {
  en: { title: "There is news of your things", body: "Open the page to see it.", failTitle: "Your answer did not get through", fail: "Tap here to answer on the page." },
  de: { title: "Es gibt Neues von Ihren Geräten", body: "Öffnen Sie die Seite, um es zu sehen.", failTitle: "Ihre Antwort kam nicht durch", fail: "Tippen Sie hier, um auf der Seite zu antworten." },
};
const words = (lang) => WORDS[String(lang || navigator.language).slice(0, 2)] || WORDS.en;

self.addEventListener("install", (e) => {
  e.waitUntil(caches.open(CACHE).then((c) => c.addAll(["/offline", "/assets/owner.css?v=@VERSION@", "/assets/icon.svg?v=@VERSION@"])).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (e) => {
  e.waitUntil(caches.keys().then((names) => Promise.all(names.filter((n) => n !== CACHE).map((n) => caches.delete(n)))).then(() => self.clients.claim()));
});

self.addEventListener("fetch", (e) => {
  const url = new URL(e.request.url);
  if (e.request.method !== "GET" || url.origin !== self.location.origin) return;
  if (e.request.mode === "navigate") {
    e.respondWith(fetch(e.request).catch(() => caches.match("/offline")));
  } else if (url.pathname.startsWith("/assets/")) {
    e.respondWith(fetch(e.request).catch(() => caches.match(e.request).then((r) => r || Response.error())));
  }
});

function post(path, what) {
  return fetch(path, { method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json", Accept: "application/json" }, body: JSON.stringify(what) });
}

// A receipt that is lost costs nothing but knowledge.
const receipt = (token, what) => token ? post("/m/receipt", { token, what }).catch(() => {}) : Promise.resolve();

// here makes an address one of ours, whatever a message says.
function here(address) {
  try {
    const url = new URL(address, self.location.origin);
    if (url.origin === self.location.origin) return url.href;
  } catch (e) { /* not an address */ }
  return self.location.origin + "/me";
}

self.addEventListener("push", (e) => e.waitUntil(arrive(e.data)));

async function arrive(data) {
  let m = {};
  try { m = data ? data.json() : {}; } catch (e) { /* what cannot be read is still news: a browser wants something shown */ }
  const w = words(m.lang);
  const actions = Array.isArray(m.actions) ? m.actions.slice(0, 2) : [];
  await self.registration.showNotification(m.title || w.title, {
    body: m.title ? m.body || "" : w.body, lang: m.lang || "", tag: m.tag || m.id || "aftercare", renotify: true, requireInteraction: Boolean(m.urgent),
    icon: "/icons/192.png", badge: "/icons/badge.png", data: { id: m.id, url: m.url, receipt: m.receipt, lang: m.lang, actions },
    actions: actions.map((a) => ({ action: a.action, title: a.title })),
  });
  await receipt(m.receipt, "delivered");
}

self.addEventListener("notificationclick", (e) => {
  const data = e.notification.data || {};
  const action = (data.actions || []).find((a) => a.action === e.action);
  e.notification.close();
  e.waitUntil(action && action.token ? answer(data, action, e.notification.tag) : open(data));
});

// answer posts a button's token. No window opens: a short notification says what happens now.
async function answer(data, action, tag) {
  const w = words(data.lang);
  let said = { title: w.failTitle, body: w.fail, url: data.url };
  try {
    const r = await post("/m/answer", { token: action.token });
    const told = await r.json();
    if (r.ok || told.title) said = { title: told.title, body: told.body, url: told.url || data.url };
  } catch (e) { /* offline: the words for that stand */ }
  await self.registration.showNotification(said.title, { body: said.body, lang: data.lang || "", tag: tag || "aftercare", icon: "/icons/192.png", badge: "/icons/badge.png",
    silent: true, data: { url: said.url, lang: data.lang, actions: [] } });
}

async function open(data) {
  const url = here(data.url || "/me");
  const windows = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const same = windows.find((c) => c.url === url);
  const opening = same ? same.focus() : self.clients.openWindow(url);
  await Promise.all([opening, receipt(data.receipt, "opened")]);
}

// A push service that changes a subscription tells; the server has to know the new one.
self.addEventListener("pushsubscriptionchange", (e) => e.waitUntil(again(e)));

async function again(e) {
  const old = e.oldSubscription;
  const s = e.newSubscription || (old && await self.registration.pushManager.subscribe(old.options));
  if (!s) return;
  const text = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  await post("/me/push", { endpoint: s.endpoint, p256dh: text(s.getKey("p256dh")), auth: text(s.getKey("auth")), old: old ? old.endpoint : "" });
}
