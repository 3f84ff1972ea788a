package web

// textOf returns a text of the pages in a language; a key without a text is returned as it is, and a test finds it.
func textOf(key string, l lang) string {
	t, ok := texts[key]
	if !ok {
		return key
	}
	if l == de {
		return t[1]
	}
	return t[0]
}

// texts are the words of the pages, English and German. Keys ending in ".1" are the singular; # is a number or a name.
var texts = merge(frameTexts, deskTexts, caseTexts, doorTexts)

func merge(parts ...map[string][2]string) map[string][2]string {
	all := map[string][2]string{}
	for _, p := range parts {
		for k, v := range p {
			all[k] = v
		}
	}
	return all
}

var frameTexts = map[string][2]string{
	"skip":           {"Skip to the content", "Zum Inhalt"},
	"nav":            {"Pages", "Seiten"},
	"nav.overview":   {"Overview", "Übersicht"},
	"nav.cases":      {"Cases", "Fälle"},
	"nav.devices":    {"Devices", "Geräte"},
	"nav.messages":   {"Messages", "Nachrichten"},
	"nav.quarantine": {"Set aside", "Beiseitegelegt"},
	"offline":        {"The server does not answer. The page shows what was known last and goes on by itself when the server is back.", "Der Server antwortet nicht. Die Seite zeigt den letzten bekannten Stand und macht von selbst weiter, wenn er wieder da ist."},
	"foot.zone":      {"Times in", "Zeiten in"},
	"pages":          {"Pages of this list", "Seiten dieser Liste"},
	"pages.prev":     {"Previous", "Zurück"},
	"pages.next":     {"Next", "Weiter"},
	"of":             {"of", "von"},
	"asof":           {"as of", "Stand"},
	"bytes":          {"bytes", "Byte"},
	"table.time":     {"Time", "Zeit"},
	"filter.category": {
		"Kind of device", "Art des Geräts"},
	"filter.all":       {"all", "alle"},
	"filter.any":       {"any", "jeder"},
	"filter.state":     {"State", "Zustand"},
	"filter.text":      {"Search", "Suche"},
	"filter.text.hint": {"name, serial, room, model, firmware", "Name, Seriennummer, Raum, Modell, Firmware"},
	"filter.go":        {"Show", "Anzeigen"},
	"filter.clear":     {"Clear", "Zurücksetzen"},
	"filter.show":      {"Show", "Zeigen"},
	"filter.open":      {"open cases", "offene Fälle"},
	"filter.allcases":  {"all cases, newest first", "alle Fälle, neueste zuerst"},
	"filter.kind":      {"About", "Thema"},
	"col.state":        {"State", "Zustand"},
	"col.device":       {"Device and owner", "Gerät und Besitzer"},
	"col.problem":      {"Problem, device, last event", "Problem, Gerät, letztes Ereignis"},
	"col.age":          {"Since", "Seit"},
	"col.lastreading":  {"Last reading", "Letzte Messung"},

	"err.home":        {"Go to the overview", "Zur Übersicht"},
	"err.again":       {"I have opened the link: try again", "Ich habe den Link geöffnet: noch einmal versuchen"},
	"err.404":         {"There is nothing here", "Hier ist nichts"},
	"err.404.why":     {"The address may be mistyped, or what it named is no longer kept.", "Die Adresse ist vielleicht vertippt, oder es gibt das Gesuchte nicht mehr."},
	"err.404.do":      {"Start from the overview, or search among the devices.", "Beginnen Sie bei der Übersicht, oder suchen Sie unter den Geräten."},
	"err.400":         {"This could not be read", "Das war nicht zu lesen"},
	"err.400.why":     {"Something in the form is missing or is not one of the choices. Nothing was changed.", "Im Formular fehlt etwas, oder es ist keine der Möglichkeiten. Es wurde nichts geändert."},
	"err.400.do":      {"Go back, fill it in and send it again.", "Gehen Sie zurück, ergänzen Sie es und senden Sie es noch einmal."},
	"err.409":         {"Somebody was faster", "Jemand war schneller"},
	"err.409.why":     {"The case changed while you were looking at it. Nothing of yours was lost, and nothing was written over.", "Der Fall hat sich geändert, während Sie ihn angesehen haben. Es wurde nichts überschrieben."},
	"err.409.do":      {"Go back, look at the case again and decide anew.", "Gehen Sie zurück, sehen Sie sich den Fall noch einmal an und entscheiden Sie neu."},
	"err.500":         {"This page could not be made", "Diese Seite ließ sich nicht erstellen"},
	"err.500.why":     {"A part of the server failed. The devices are heard all the same; the log says what happened.", "Ein Teil des Servers hat versagt. Die Geräte werden trotzdem gehört; im Protokoll steht, was geschah."},
	"err.500.do":      {"Try it again in a minute. If it stays so, look into the server's log.", "Versuchen Sie es in einer Minute noch einmal. Bleibt es so, sehen Sie in das Protokoll des Servers."},
	"err.503":         {"The server is busy", "Der Server ist beschäftigt"},
	"err.503.why":     {"Another part is writing just now. Nothing was changed.", "Ein anderer Teil schreibt gerade. Es wurde nichts geändert."},
	"err.503.do":      {"Try it again in a few seconds.", "Versuchen Sie es in ein paar Sekunden noch einmal."},
	"err.session":     {"Please open the link that the server printed", "Bitte öffnen Sie den Link, den der Server ausgegeben hat"},
	"err.session.why": {"These pages show people's things and messages, and there is no sign-in yet. The link in the server's window lets this browser in.", "Diese Seiten zeigen Geräte und Nachrichten von Menschen, und es gibt noch keine Anmeldung. Der Link im Fenster des Servers lässt diesen Browser ein."},
	"err.session.do":  {"Look for a line like http://127.0.0.1:8080/?token=… where the server was started, and open it here. Once is enough.", "Suchen Sie dort, wo der Server gestartet wurde, eine Zeile wie http://127.0.0.1:8080/?token=… und öffnen Sie sie hier. Einmal genügt."},
	"err.token":       {"This link is not the right one", "Dieser Link ist nicht der richtige"},
	"err.token.why":   {"Its token is not the one of this server. It may be from an earlier installation, or cut short when it was copied.", "Sein Token gehört nicht zu diesem Server. Vielleicht stammt er von einer früheren Installation oder wurde beim Kopieren abgeschnitten."},
	"err.token.do":    {"Copy the whole line that the server printed at its last start, and open it here.", "Kopieren Sie die ganze Zeile, die der Server beim letzten Start ausgegeben hat, und öffnen Sie sie hier."},
	"err.origin":      {"This did not come from one of these pages", "Das kam nicht von einer dieser Seiten"},
	"err.origin.why":  {"Another site tried to change something here in your name. It was not done.", "Eine andere Website hat versucht, hier in Ihrem Namen etwas zu ändern. Es wurde nicht ausgeführt."},
	"err.origin.do":   {"If it was you, open the page here and do it again.", "Wenn Sie es selbst waren, öffnen Sie die Seite hier und tun Sie es noch einmal."},
	"err.host":        {"The server does not answer to this name", "Auf diesen Namen antwortet der Server nicht"},
	"err.host.why":    {"It answers only to names of this machine, so that no other site can pass itself off as it.", "Er antwortet nur auf Namen dieses Rechners, damit sich keine andere Website für ihn ausgeben kann."},
	"err.host.do":     {"Open the address that the server printed, or add this name to web.hosts in its configuration.", "Öffnen Sie die Adresse, die der Server ausgegeben hat, oder tragen Sie den Namen in seinen Einstellungen unter web.hosts ein."},
}

var deskTexts = map[string][2]string{
	"overview.cases":         {"# open cases", "# offene Fälle"},
	"overview.cases.1":       {"One open case", "Ein offener Fall"},
	"overview.devices":       {"on # devices", "bei # Geräten"},
	"overview.devices.1":     {"on one device", "bei einem Gerät"},
	"overview.allwell":       {"No open case", "Kein offener Fall"},
	"overview.open":          {"Open cases", "Offene Fälle"},
	"overview.more":          {"# more", "# weitere"},
	"overview.more.1":        {"one more", "einer mehr"},
	"overview.messages":      {"Messages to owners", "Nachrichten an Besitzer"},
	"overview.messages.all":  {"all messages", "alle Nachrichten"},
	"overview.fleet":         {"Fleet", "Flotte"},
	"overview.fleet.all":     {"all devices", "alle Geräte"},
	"overview.quarantine":    {"# reports were set aside since yesterday.", "# Meldungen wurden seit gestern beiseitegelegt."},
	"overview.quarantine.1":  {"One report was set aside since yesterday.", "Eine Meldung wurde seit gestern beiseitegelegt."},
	"overview.quarantine.do": {"Look at the reasons; nothing of it has been lost.", "Sehen Sie sich die Gründe an; nichts davon ist verloren."},
	"pulse":                  {"# readings a minute, the last one at", "# Messungen in der Minute, die letzte um"},
	"pulse.none":             {"No reading has come in since the server started. Devices report by themselves once they are connected.", "Seit dem Start des Servers kam noch keine Messung. Geräte melden sich von selbst, sobald sie verbunden sind."},
	"history.away":           {"The time series do not answer just now, so charts and last readings are missing. Readings are kept and will appear here.", "Die Messreihen antworten gerade nicht, deshalb fehlen Verläufe und letzte Messungen. Die Messungen sind aufgehoben und erscheinen hier."},
	"devices.none":           {"No device is registered yet. Register one with “aftercare device add”; it appears here at once.", "Noch ist kein Gerät angemeldet. Melden Sie eines mit „aftercare device add“ an; es erscheint sofort hier."},
	"devices.nomatch":        {"No device matches. Clear the filter to see all.", "Kein Gerät passt dazu. Setzen Sie den Filter zurück, um alle zu sehen."},
	"device.never":           {"never", "nie"},
	"device.neverreported":   {"has not reported yet", "hat sich noch nicht gemeldet"},
	"device.lastreading":     {"last reading", "letzte Messung"},
	"device.readings":        {"Readings", "Messungen"},
	"device.nochart":         {"There is nothing to draw yet. Charts appear with the first readings, if the model's profile names fields for them.", "Noch gibt es nichts zu zeichnen. Verläufe erscheinen mit den ersten Messungen, wenn das Profil des Modells Felder dafür nennt."},
	"device.latest":          {"Last values", "Letzte Werte"},
	"device.facts":           {"About it", "Angaben"},
	"device.cases":           {"Cases", "Fälle"},
	"device.nocases":         {"No case so far.", "Bisher kein Fall."},
	"device.messages":        {"Messages about it", "Nachrichten dazu"},
	"device.nomessages":      {"Its owner has not been told anything about it.", "Dem Besitzer wurde dazu noch nichts mitgeteilt."},
	"fact.owner":             {"Owner", "Besitzer"},
	"fact.noowner":           {"nobody has claimed it", "noch niemand"},
	"fact.model":             {"Model", "Modell"},
	"fact.serial":            {"Serial", "Seriennummer"},
	"fact.firmware":          {"Firmware", "Firmware"},
	"fact.hardware":          {"Hardware", "Hardware"},
	"fact.batch":             {"Batch", "Charge"},
	"fact.room":              {"Room", "Raum"},
	"fact.region":            {"Region", "Region"},
	"fact.installed":         {"Installed", "In Betrieb seit"},
	"fact.seller":            {"Sold by", "Gekauft bei"},
	"fact.warranty":          {"Warranty", "Garantie"},
	"fact.over":              {"ended", "endete am"},
	"fact.parent":            {"Reports through", "Meldet sich über"},
	"fact.tools":             {"Speaks for", "Spricht für"},
	"fact.credential":        {"Credential", "Zugang"},
	"fact.revoked":           {"revoked", "entzogen"},
	"range":                  {"Range of time", "Zeitraum"},
	"range.24h":              {"24 h", "24 Std."},
	"range.7d":               {"7 days", "7 Tage"},
	"range.14d":              {"14 days", "14 Tage"},
	"chart.nodata":           {"no readings", "keine Messungen"},
	"chart.empty":            {"There are no readings in this time.", "In dieser Zeit gibt es keine Messungen."},
	"chart.normal":           {"usually #1 to #2", "sonst #1 bis #2"},
	"chart.normal.one":       {"usually #", "sonst #"},
	"chart.limit":            {"limit", "Grenze"},
	"chart.cleared":          {"over", "vorbei"},
	"chart.desc":             {"Between #1 and #2.", "Zwischen #1 und #2."},
	"chart.table":            {"The numbers", "Die Zahlen"},
	"messages.none":          {"Nobody has been told anything yet. A message appears here when a case concerns its owner.", "Noch wurde niemandem etwas mitgeteilt. Eine Nachricht erscheint hier, sobald ein Fall einen Besitzer betrifft."},
	"messages.sent":          {"To owners", "An Besitzer"},
	"messages.dead":          {"Not delivered", "Nicht zugestellt"},
	"messages.dead.n":        {"# messages did not reach anybody on this channel. Call the owner, or correct the address.", "# Nachrichten haben auf diesem Weg niemanden erreicht. Rufen Sie den Besitzer an, oder berichtigen Sie die Adresse."},
	"messages.dead.n.1":      {"One message did not reach anybody on this channel. Call the owner, or correct the address.", "Eine Nachricht hat auf diesem Weg niemanden erreicht. Rufen Sie den Besitzer an, oder berichtigen Sie die Adresse."},
	"messages.other":         {"By other channels, held or left out", "Auf anderen Wegen, zurückgehalten oder weggelassen"},
	"messages.other.why":     {"Decided at sending time; the reason stands beside it.", "Beim Senden entschieden; der Grund steht dabei."},
	"message.to":             {"to", "an"},
	"person.title":           {"Your things", "Ihre Geräte"},
	"person.need":            {"# of your things need something", "# Ihrer Geräte brauchen etwas"},
	"person.need.1":          {"One of your things needs something", "Eines Ihrer Geräte braucht etwas"},
	"person.well":            {"All is well with your things", "Mit Ihren Geräten ist alles in Ordnung"},
	"person.messages":        {"Messages", "Nachrichten"},
	"person.nomessages":      {"There is no message for you. We write only when something needs you.", "Es gibt keine Nachricht für Sie. Wir schreiben nur, wenn etwas Sie braucht."},
	"person.things":          {"Your things", "Ihre Geräte"},
	"person.nothings":        {"No device is registered in your name yet.", "Auf Ihren Namen ist noch kein Gerät angemeldet."},
	"person.heard":           {"last heard", "zuletzt gemeldet"},
}
