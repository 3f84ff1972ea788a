package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"aftercare/internal/app"
	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

func newOwner() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "owner",
		Short: "Say who hears of the devices, how, and what they agreed to; works while the server runs",
	}
	cmd.AddCommand(newOwnerAdd(), newOwnerList(), newOwnerShow(), newOwnerEndpoint(), newOwnerPrefer(), newOwnerConsent(), newOwnerHousehold(), newOwnerLink(), newOwnerSignOut())
	return cmd
}

func newOwnerAdd() *cobra.Command {
	var tenant, household, digest string
	var p fleet.Person
	cmd := registryTool("add ID", "Register a person, or change her name, locale and zone", cobra.ExactArgs(1),
		func(ctx context.Context, r *registry.Registry, args []string, w io.Writer) (err error) {
			p.Tenant, p.ID, p.Household = tenant, args[0], household
			old, known := r.Person(tenant, p.ID)
			if p.DigestDay, p.DigestHour, err = app.ParseDigest(digest); err != nil {
				return err
			}
			if !known {
				return r.SavePeople(ctx, []fleet.Person{p})
			}
			next := *old
			for _, f := range []struct{ to, from *string }{{&next.Name, &p.Name}, {&next.Locale, &p.Locale}, {&next.Zone, &p.Zone}} {
				if *f.from != "" {
					*f.to = *f.from
				}
			}
			if digest != "" {
				next.DigestDay, next.DigestHour = p.DigestDay, p.DigestHour
			}
			if err := r.SetProfile(ctx, next); err != nil || household == "" {
				return err
			}
			return r.SetHousehold(ctx, tenant, p.ID, household, old.Rank)
		})
	cmd.Long = `Registers a person who can own devices and hear of them. Of one who is registered, what is given here is changed and everything else stays.`
	cmd.Example = `  aftercare owner add anna --name "Anna Berger" --locale de-DE --zone Europe/Berlin
  aftercare owner add anna --digest sunday-18`
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&p.Name, "name", "", "what she is called")
	cmd.Flags().StringVar(&p.Locale, "locale", "", "language and country: de-DE, en-GB")
	cmd.Flags().StringVar(&p.Zone, "zone", "", "time zone: Europe/Berlin")
	cmd.Flags().StringVar(&household, "household", "", "id of the household she lives in")
	cmd.Flags().StringVar(&digest, "digest", "", "day and hour of her digest: sunday-18 (default: the installation's)")
	return cmd
}

func newOwnerList() *cobra.Command {
	var tenant string
	cmd := registryTool("list", "List the people", cobra.NoArgs,
		func(_ context.Context, r *registry.Registry, _ []string, out io.Writer) error {
			w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tNAME\tLOCALE\tZONE\tHOUSEHOLD\tDEVICES\tHEARS BY")
			for _, p := range r.PeopleOf(tenant) {
				by := []string{"inbox"}
				for _, e := range p.Endpoints {
					by = append(by, e.Channel)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", p.ID, p.Name, p.Locale, p.Zone, p.Household, len(r.DevicesOf(tenant, p.ID)), strings.Join(by, " "))
			}
			return w.Flush()
		})
	tenantFlag(cmd, &tenant)
	return cmd
}

func newOwnerShow() *cobra.Command {
	var tenant string
	cmd := registryTool("show ID", "Show a person: her devices, household, addresses, wishes, what she agreed to, where she is signed in", cobra.ExactArgs(1),
		func(ctx context.Context, r *registry.Registry, args []string, w io.Writer) error {
			return showOwner(ctx, r, tenant, args[0], w)
		})
	tenantFlag(cmd, &tenant)
	return cmd
}

func showOwner(ctx context.Context, r *registry.Registry, tenant, id string, out io.Writer) error {
	p, ok := r.Person(tenant, id)
	if !ok {
		return fleet.Errorf(fleet.CodeNotFound, "person %q is not registered", id)
	}
	consents, err := r.Consents(ctx, tenant, id)
	if err != nil {
		return err
	}
	sessions, err := r.Sessions(ctx, tenant, id)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, f := range [][2]string{{"person", tenant + "/" + p.ID}, {"name", p.Name}, {"locale", p.Locale}, {"zone", p.Zone}} {
		fmt.Fprintf(w, "%s\t%s\n", f[0], f[1])
	}
	if p.DigestHour != 0 {
		fmt.Fprintf(w, "digest\t%s-%d\n", strings.ToLower(p.DigestDay.String()), p.DigestHour)
	}
	if h, ok := r.HouseholdOf(tenant, id); ok && (p.Household != "" || len(h.Members) > 1) {
		fmt.Fprintf(w, "household\t%s:", h.ID)
		for _, m := range h.Members {
			fmt.Fprintf(w, " %s", m.ID)
		}
		fmt.Fprintln(w)
	}
	for _, d := range r.DevicesOf(tenant, id) {
		fmt.Fprintf(w, "device\t%s %s\n", d.Key.Serial, d.Model)
	}
	for _, e := range p.Endpoints {
		fmt.Fprintf(w, "hears by\t%s\n", strings.TrimSpace(e.Channel+" "+e.Label))
	}
	for _, x := range p.Preferences {
		fmt.Fprintf(w, "wish\t%s %s: %s\n", x.Topic, everywhere(x.Channel), x.Want)
	}
	printConsents(w, consents)
	if len(sessions) > 0 {
		fmt.Fprintln(w, "\nSESSION\tSINCE\tLAST USED\tUNTIL\tENDED\tBROWSER")
	}
	for _, s := range sessions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, moment(s.CreatedAt), moment(s.UsedAt), moment(s.ExpiresAt), moment(s.RevokedAt), s.Agent)
	}
	return w.Flush()
}

// addressChannels are those whose addresses somebody types.
var addressChannels = []string{"email", "ntfy", "webhook"}

// checkAddress finds the slips of whoever types an address; whether somebody hears there only the first message tells.
func checkAddress(e fleet.Endpoint) error {
	switch {
	case !slices.Contains(addressChannels, e.Channel):
		return fmt.Errorf("channel %q: want email, ntfy or webhook; phones and browsers are added on the owners' pages", e.Channel)
	case e.Channel == "email":
		if a, err := mail.ParseAddress(e.Address); err != nil || a.Address != e.Address {
			return fmt.Errorf("address %q: want an e-mail address such as anna@example.org", e.Address)
		}
	default:
		if u, err := url.Parse(e.Address); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return fmt.Errorf("address %q: want a URL such as https://ntfy.sh/anna-1f3c", e.Address)
		}
	}
	if e.Channel == "webhook" && !strings.HasPrefix(e.Secret, "whsec_") {
		return errors.New(`a webhook wants the secret that its messages are signed with: --secret "whsec_..."`)
	}
	return nil
}

func everywhere(channel string) string {
	if channel == "" {
		return "everywhere"
	}
	return "by " + channel
}

func printConsents(w io.Writer, consents []fleet.Consent) {
	if len(consents) > 0 {
		fmt.Fprintln(w, "\nAGREED TO\tTEXT\tTHROUGH\tGIVEN\tWITHDRAWN")
	}
	for _, c := range consents {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.Purpose, c.Text, c.Source, moment(c.GivenAt), moment(c.WithdrawnAt))
	}
}

func newOwnerEndpoint() *cobra.Command {
	var tenant string
	var e fleet.Endpoint
	var remove bool
	cmd := registryTool("address ID CHANNEL ADDRESS", "Give a person an address on a channel (email, ntfy, webhook), or take it away", cobra.ExactArgs(3),
		func(ctx context.Context, r *registry.Registry, args []string, _ io.Writer) error {
			e.Channel, e.Address = args[1], args[2]
			if remove {
				return r.RemoveEndpoint(ctx, tenant, args[0], e.Channel, e.Address)
			}
			if err := checkAddress(e); err != nil {
				return err
			}
			return r.AddEndpoint(ctx, tenant, args[0], e)
		})
	cmd.Example = `  aftercare owner address anna email anna@example.org
  aftercare owner address anna ntfy https://ntfy.sh/anna-1f3c --label "Anna's phone"
  aftercare owner address anna email anna@example.org --remove`
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&e.Secret, "secret", "", `what the channel needs besides: a webhook's signing secret "whsec_...", ntfy's access token`)
	cmd.Flags().StringVar(&e.Label, "label", "", "what it is, for people")
	cmd.Flags().BoolVar(&remove, "remove", false, "take it off her list")
	return cmd
}

func newOwnerPrefer() *cobra.Command {
	var tenant, channel string
	cmd := registryTool("prefer ID TOPIC now|digest|never|default", "Say how a person wants to hear of a topic", cobra.ExactArgs(3),
		func(ctx context.Context, r *registry.Registry, args []string, _ io.Writer) error {
			want := fleet.Want(args[2])
			if args[2] == "default" {
				want = ""
			}
			return r.SetPreferences(ctx, tenant, args[0], fleet.Preference{Topic: fleet.Topic(args[1]), Channel: channel, Want: want})
		})
	cmd.Long = `The topics are safety, fault, warranty, maintenance, tip and review. "never" does not count for safety in the inbox; "default" takes a wish back.`
	cmd.Example = `  aftercare owner prefer anna tip digest
  aftercare owner prefer anna maintenance never --channel email`
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&channel, "channel", "", "for one channel only: inbox, push, email, ... (default: all)")
	return cmd
}

func newOwnerConsent() *cobra.Command {
	var tenant, text, source string
	var withdraw bool
	cmd := registryTool("consent ID PURPOSE", "Record that a person agreed to a purpose (tips, review, partner), or took it back", cobra.ExactArgs(2),
		func(ctx context.Context, r *registry.Registry, args []string, _ io.Writer) error {
			purpose := fleet.Purpose(args[1])
			if withdraw {
				return r.WithdrawConsent(ctx, tenant, args[0], purpose)
			}
			if text == "" || source == "" {
				return errors.New("want --text with the version of the text she agreed to, and --source with where she did")
			}
			return r.GiveConsent(ctx, tenant, args[0], purpose, text, source)
		})
	cmd.Long = `Messages about a person's own device need no consent. Tips, review prompts, and handing name and address to a service partner do. A record says to which
version of the text she agreed, when, and through what; it is never changed, only withdrawn ("owner show" lists all).`
	cmd.Example = `  aftercare owner consent anna tips --text tips-2026-11 --source "paper form 4711"
  aftercare owner consent anna tips --withdraw`
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&text, "text", "", "version of the text she agreed to")
	cmd.Flags().StringVar(&source, "source", "", "through what she did: a form, a call")
	cmd.Flags().BoolVar(&withdraw, "withdraw", false, "she took it back")
	cmd.MarkFlagsMutuallyExclusive("withdraw", "text")
	return cmd
}

func newOwnerHousehold() *cobra.Command {
	var tenant string
	var place int
	cmd := registryTool("household ID [HOUSEHOLD]", "Say with whom a person lives; without a household: alone", cobra.RangeArgs(1, 2),
		func(ctx context.Context, r *registry.Registry, args []string, _ io.Writer) error {
			return r.SetHousehold(ctx, tenant, args[0], append(args, "")[1], place)
		})
	cmd.Long = `Who lives together shares one budget of messages, and one hears in the place of another who does not answer: the lowest place first.`
	tenantFlag(cmd, &tenant)
	cmd.Flags().IntVar(&place, "place", 0, "in which place she hears, 0 first")
	return cmd
}

func newOwnerLink() *cobra.Command {
	var tenant string
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "link ID",
		Short: "Make a link that signs a person in to the owners' pages, once",
		Long:  `Whoever has the link gets in as that person, the first time it is opened and confirmed. Send it by a way that is hers alone.`,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, files, err := loadAll(cmd)
			if err != nil {
				return err
			}
			return app.WithRegistry(cmd.Context(), cfg, files, func(_ context.Context, r *registry.Registry) error {
				if _, ok := r.Person(tenant, args[0]); !ok {
					return fleet.Errorf(fleet.CodeNotFound, "person %q is not registered", args[0])
				}
				link, err := app.SignInLink(cfg, tenant, args[0], time.Now().Add(expires))
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), link)
				return err
			})
		},
	}
	configFlags(cmd, "owner.url", "owner.listen")
	tenantFlag(cmd, &tenant)
	cmd.Flags().DurationVar(&expires, "expires", 24*time.Hour, "how long it is good for")
	return cmd
}

func newOwnerSignOut() *cobra.Command {
	var tenant string
	cmd := registryTool("sign-out ID [SESSION]", "End one of a person's sessions on the owner pages, or all", cobra.RangeArgs(1, 2),
		func(ctx context.Context, r *registry.Registry, args []string, _ io.Writer) error {
			return r.RevokeSession(ctx, tenant, args[0], append(args, "")[1])
		})
	tenantFlag(cmd, &tenant)
	return cmd
}

func newDeviceTransfer() *cobra.Command {
	var tenant string
	cmd := registryTool("transfer SERIAL [PERSON]", "Give a device to another owner, or to nobody; what was before this moment stays the first one's", cobra.RangeArgs(1, 2),
		func(ctx context.Context, r *registry.Registry, args []string, w io.Writer) error {
			key := fleet.DeviceKey{Tenant: tenant, Serial: args[0]}
			person := append(args, "")[1]
			if err := r.SetOwner(ctx, key, person); err != nil {
				return err
			}
			if person == "" {
				person = "nobody"
			}
			_, err := fmt.Fprintf(w, "%s belongs to %s\n", key.Serial, person)
			return err
		})
	cmd.Long = `The new owner sees and hears nothing of the time before, and what was still to be sent to the first owner is not sent any more. The device goes on as it is. With
"device claim-code --transfer" owners do this themselves.`
	tenantFlag(cmd, &tenant)
	return cmd
}

func newDeviceCover() *cobra.Command {
	var tenant, at, kind, component string
	cmd := registryTool("cover SERIAL", "Show who pays for a device on a day, and until when, by the warranty terms", cobra.ExactArgs(1),
		func(_ context.Context, r *registry.Registry, args []string, w io.Writer) error {
			d, ok := r.Device(fleet.DeviceKey{Tenant: tenant, Serial: args[0]})
			if !ok {
				return fleet.Errorf(fleet.CodeNotFound, "device %q is not registered", args[0])
			}
			t, err := parseWhen("at", at)
			if err != nil {
				return err
			}
			if t.IsZero() {
				t = time.Now()
			}
			if k := fleet.Kind(kind); k != "" && !slices.Contains([]fleet.Kind{fleet.KindFault, fleet.KindMaintenance, fleet.KindSafety, fleet.KindUsage, fleet.KindExperience}, k) {
				return fmt.Errorf("--kind %q: want fault, maintenance, safety, usage or experience", kind)
			}
			return printCover(w, r.CoverOf(d, t, registry.Matter{Kind: fleet.Kind(kind), Component: component}))
		})
	cmd.Example = `  aftercare device cover WM-0001
  aftercare device cover WM-0001 --at 2027-01-01 --kind maintenance --component drain-pump`
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringVar(&at, "at", "", "on which day: 2026-03-31 (default: today)")
	cmd.Flags().StringVar(&kind, "kind", "", "for a finding of this kind: fault, maintenance, safety, usage (default: the device as such)")
	cmd.Flags().StringVar(&component, "component", "", "about this component of the model's profile")
	return cmd
}

func printCover(out io.Writer, c fleet.Cover) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "cover\t%s\n", c.Kind)
	if c.By != "" {
		fmt.Fprintf(w, "by\t%s\n", strings.TrimSpace(c.By+" "+c.Name))
	}
	if !c.Until.IsZero() {
		left := fmt.Sprintf("%d days", c.Days)
		if c.Days < 0 {
			left = fmt.Sprintf("%d days ago", -c.Days)
		}
		fmt.Fprintf(w, "until\t%s, %s\n", c.Until.Format(time.DateOnly), left)
	}
	fmt.Fprintf(w, "pays\t%t\nen\t%s\nde\t%s\n", c.Pays, c.Text.In("en"), c.Text.In("de"))
	return w.Flush()
}
