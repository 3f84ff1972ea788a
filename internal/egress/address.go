package egress

import (
	"net/netip"
	"strings"
)

// Two reasons that an entry of Config.Allow lifts; no other is ever lifted.
const (
	loopback = "it is a loopback address"
	private  = "it is an address of a private network"
)

// blocked are the special-purpose networks of IPv4 (IANA registry, RFC 6890 and its updates) and those inside 2000::/3 of
// IPv6 that are special or carry an IPv4 address inside; everything outside 2000::/3 is blocked by that alone.
var blocked = []struct {
	net    netip.Prefix
	reason string
}{
	{netip.MustParsePrefix("127.0.0.0/8"), loopback},
	{netip.MustParsePrefix("::1/128"), loopback},
	{netip.MustParsePrefix("10.0.0.0/8"), private},
	{netip.MustParsePrefix("172.16.0.0/12"), private},
	{netip.MustParsePrefix("192.168.0.0/16"), private},
	{netip.MustParsePrefix("100.64.0.0/10"), private}, // carrier-grade NAT, also Tailscale and one cloud's metadata, see below
	{netip.MustParsePrefix("fc00::/7"), private},
	{netip.MustParsePrefix("169.254.0.0/16"), "it is a link-local address"},
	{netip.MustParsePrefix("fe80::/10"), "it is a link-local address"},
	{netip.MustParsePrefix("0.0.0.0/8"), "it means this host"},
	{netip.MustParsePrefix("192.0.0.0/24"), "it is reserved for protocols"},
	{netip.MustParsePrefix("192.0.2.0/24"), "it is reserved for documentation"},
	{netip.MustParsePrefix("198.51.100.0/24"), "it is reserved for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "it is reserved for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "it is a relay address"},
	{netip.MustParsePrefix("198.18.0.0/15"), "it is reserved for measurement"},
	{netip.MustParsePrefix("224.0.0.0/4"), "it is a multicast address"},
	{netip.MustParsePrefix("ff00::/8"), "it is a multicast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "it is reserved"},
	{netip.MustParsePrefix("2001::/23"), "it is reserved for protocols"}, // Teredo, ORCHID, benchmarking
	{netip.MustParsePrefix("2001:db8::/32"), "it is reserved for documentation"},
	{netip.MustParsePrefix("2002::/16"), "it is a 6to4 address"},
	{netip.MustParsePrefix("3fff::/20"), "it is reserved for documentation"},
}

// metadata are the addresses inside otherwise liftable networks where clouds answer with credentials.
var metadata = map[netip.Addr]bool{
	netip.MustParseAddr("100.100.100.200"): true,
	netip.MustParseAddr("fd00:ec2::254"):   true,
	netip.MustParseAddr("fd20:ce::254"):    true,
}

var (
	globalV6 = netip.MustParsePrefix("2000::/3")
	nat64    = netip.MustParsePrefix("64:ff9b::/96")
)

// Blocked says why an IP address may not be called, in words for people; "" when it may.
func Blocked(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "it is not an IP address"
	case a.Zone() != "":
		return "it is a link-local address"
	case a.Is4In6():
		return "it is an IPv4 address written as IPv6"
	case metadata[a]:
		return "it is a metadata address"
	}
	if nat64.Contains(a) { // on a network that has IPv6 only, all of IPv4 is reached so: judge what is inside
		b := a.As16()
		return Blocked(netip.AddrFrom4([4]byte(b[12:])))
	}
	for _, b := range blocked {
		if b.net.Contains(a) {
			return b.reason
		}
	}
	if a.Is6() && !globalV6.Contains(a) {
		return "it is not a public address"
	}
	return ""
}

// localSuffixes are names that mean something inside a network only.
var localSuffixes = []string{"localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "home.arpa", "onion", "test", "invalid"}

// badHost says what is wrong with a host before it is resolved; "" when nothing is. The resolved address decides; this
// gives a good answer early and refuses spellings that only an attacker needs.
func badHost(host string) string {
	if a, err := netip.ParseAddr(host); err == nil {
		return Blocked(a)
	}
	for i := 0; i < len(host); i++ {
		c := host[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		default:
			return "the host has a character that is not allowed (write international names as xn--...)"
		}
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return "the host has no domain"
	}
	// A numeric last label is an IPv4 address in an old spelling (0x7f.1, 0177.0.0.1, 127.1): some resolvers accept those.
	if last := name[dot+1:]; last == "" || last[0] >= '0' && last[0] <= '9' {
		return "the host is not a domain name"
	}
	for _, s := range localSuffixes {
		if name == s || strings.HasSuffix(name, "."+s) {
			return "the host is a name of a local network"
		}
	}
	return ""
}
