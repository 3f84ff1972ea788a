// What the pages cannot do without script: tell the time zone, allow notifications, and say that a message was opened. Everything
// else works without it.
"use strict";

const workers = "serviceWorker" in navigator;
if (workers) navigator.serviceWorker.register("/sw.js", { scope: "/" }).catch(() => {});

// The zone is told instead of being asked for.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
for (const form of document.querySelectorAll("form[data-zone]")) {
  if (!zone) break;
  form.elements.zone.value = zone;
  for (const e of form.querySelectorAll("[data-noscript]")) e.hidden = true;
}

// A second tap on a button is not a second answer.
for (const form of document.forms) {
  form.addEventListener("submit", (e) => {
    if (form.dataset.sent) e.preventDefault();
    form.dataset.sent = "1";
  });
}
addEventListener("pageshow", () => { for (const form of document.forms) delete form.dataset.sent; });

const offline = document.getElementById("offline");
const line = () => { offline.hidden = navigator.onLine; };
addEventListener("online", line);
addEventListener("offline", line);
line();

// A message that a person looks at was opened. A program that opens links runs no script, or shows no page.
const message = document.querySelector("[data-receipt]");
function opened() {
  if (!message || document.visibilityState !== "visible" || message.dataset.told) return;
  message.dataset.told = "1";
  fetch("/m/receipt", { method: "POST", headers: { "Content-Type": "application/json" }, keepalive: true,
    body: JSON.stringify({ token: message.dataset.receipt, what: "opened" }) }).catch(() => {});
}
document.addEventListener("visibilitychange", opened);
opened();

// Notifications: explained first, asked for on a tap only.
const push = document.querySelector("[data-push-key]");
const text = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const bytes = (s) => Uint8Array.from(atob(s.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));

function show(state) {
  for (const e of push.querySelectorAll("[data-state]")) e.hidden = e.dataset.state !== state;
}

async function hash(s) {
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(s)));
  return Array.from(sum, (b) => b.toString(16).padStart(2, "0")).join("");
}

async function known() {
  const registration = await navigator.serviceWorker.getRegistration("/");
  const subscription = registration && await registration.pushManager.getSubscription();
  if (!subscription) return false;
  const row = document.querySelector(`[data-push="${await hash(subscription.endpoint)}"]`);
  if (row) row.querySelector("[data-this]").hidden = false;
  return Boolean(row);
}

async function look() {
  const apple = /iPhone|iPad|iPod/.test(navigator.userAgent) && !navigator.standalone;
  if (!workers || !("PushManager" in window) || !("Notification" in window)) return show(apple ? "ios" : "cannot");
  if (Notification.permission === "denied") return show("denied");
  show(Notification.permission === "granted" && await known() ? "on" : "ask");
}

async function allow() {
  if (await Notification.requestPermission() !== "granted") return look();
  try {
    const registration = await navigator.serviceWorker.ready;
    const key = bytes(push.dataset.pushKey);
    let s = await registration.pushManager.getSubscription();
    if (s && s.options.applicationServerKey && text(s.options.applicationServerKey) !== push.dataset.pushKey) {
      await s.unsubscribe(); // it was made for a server that had another key
      s = null;
    }
    s = s || await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
    const answer = await fetch("/me/push", { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ endpoint: s.endpoint, p256dh: text(s.getKey("p256dh")), auth: text(s.getKey("auth")) }) });
    if (!answer.ok) throw new Error(String(answer.status));
    location.assign("/me/settings?said=push#said");
  } catch (e) {
    show("failed");
    push.querySelector('[data-state="ask"]').hidden = false;
  }
}

if (push) {
  look();
  const button = document.getElementById("push-allow");
  button.addEventListener("click", () => { button.disabled = true; allow().finally(() => { button.disabled = false; }); });
}
const hint = document.querySelector("[data-push-hint]");
if (hint && (!("Notification" in window) && !/iPhone|iPad|iPod/.test(navigator.userAgent))) hint.hidden = true;
