// Package configs holds the shipped configuration and hands it to the binary: model profiles, rule packs with their texts, the templates of
// messages, warranty terms, and the demo fleet. A folder given on the command line replaces what is embedded.
//
// Who may import it: app and cmd. It imports nothing of ours.
package configs

import "embed"

// FS holds models/*.yaml, rules/*.yaml, templates/**, warranty/*.yaml, demo/*.yaml, sim/*.yaml and aftercare.yaml.
//
//go:embed aftercare.yaml models/*.yaml rules/*.yaml templates/email.* templates/*/*.tmpl warranty/*.yaml demo/*.yaml sim/*.yaml
var FS embed.FS
