// SPDX-License-Identifier: Apache-2.0

package kvaware

import (
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddypki"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
)

// need is something a config needs the disk for after its start, and what to
// configure so that it does not.
type need struct{ what, wayOut string }

var (
	needAutosave = need{"Caddy saves the config after each load", "persist_config off"}
	needLogs     = need{"logs go to files", "output stderr, or net"}
	needIdentity = need{"the admin endpoint has a certificate managed in files", "no admin identity"}
	needCheck    = need{"Caddy tests its storage, which is files", "storage_check off"}
	needClean    = need{"Caddy cleans its storage, which is files", "storage_clean_interval off"}
	needCerts    = need{"Caddy manages certificates in files", "auto_https off and certificates from files that exist, or TLS in front, or a storage module that is not file_system"}
	needPKI      = need{"Caddy's own certificate authority keeps its keys in files", "no tls internal, no acme_server and no pki app"}
	needECH      = need{"keys of Encrypted ClientHello are kept in files", "no ech"}

	// needUnknown: better refuse than promise what cannot be seen.
	needUnknown = need{"this version of Caddy does not show what it will write", "the version of Caddy that this module is built for"}
)

// needsOfConfig lists what the parts of a config that are no apps need the
// disk for. Caddy opens the logs before it provisions any app.
func needsOfConfig(ctx caddy.Context) (needs []need) {
	config := configBehind(ctx)
	if config == nil || config.Logging == nil {
		return []need{needUnknown}
	}
	admin := config.Admin
	if admin == nil || admin.Config == nil || admin.Config.Persist == nil || *admin.Config.Persist {
		needs = append(needs, needAutosave)
	}
	if admin != nil && admin.Identity != nil && onFiles(ctx) {
		needs = append(needs, needIdentity)
	}
	files, known := logsToFiles(config.Logging)
	switch {
	case !known:
		needs = append(needs, needUnknown)
	case files:
		needs = append(needs, needLogs)
	}
	return needs
}

// configBehind returns the config that ctx belongs to, or nil. Caddy hands it to
// no module, but the autosave is decided nowhere else, and after the start is
// too late to refuse it. That the field is still there is tested.
func configBehind(ctx caddy.Context) *caddy.Config {
	field := reflect.ValueOf(ctx).FieldByName("cfg")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*caddy.Config]() {
		return nil
	}
	return (*caddy.Config)(field.UnsafePointer())
}

// logsToFiles reports whether a log is written by Caddy's file writer; known is
// false when this version of Caddy does not show it.
func logsToFiles(l *caddy.Logging) (files, known bool) {
	keys := reflect.ValueOf(l).Elem().FieldByName("writerKeys")
	if !keys.IsValid() || keys.Kind() != reflect.Slice || keys.Type().Elem().Kind() != reflect.String {
		return false, false
	}
	for i := range keys.Len() {
		// caddy/v2/modules/logging.FileWriter.WriterKey
		files = files || strings.HasPrefix(keys.Index(i).String(), "file:")
	}
	return files, true
}

// onFiles reports whether Caddy's storage is a directory of files.
func onFiles(ctx caddy.Context) bool {
	_, files := ctx.Storage().(*certmagic.FileStorage)
	return files
}

// needsOfApps lists what the apps need the disk for, once all are provisioned.
func needsOfApps(ctx caddy.Context) (needs []need) {
	if !onFiles(ctx) {
		return nil
	}
	if app, err := ctx.AppIfConfigured("tls"); err == nil {
		needs = append(needs, needsOfTLS(ctx, app.(*caddytls.TLS))...)
	}
	if app, err := ctx.AppIfConfigured("pki"); err == nil && len(app.(*caddypki.PKI).CAs) > 0 {
		needs = append(needs, needPKI)
	}
	return needs
}

func needsOfTLS(ctx caddy.Context, tls *caddytls.TLS) (needs []need) {
	if !tls.DisableStorageCheck {
		needs = append(needs, needCheck)
	}
	if !tls.DisableStorageClean {
		needs = append(needs, needClean)
	}
	if tls.EncryptedClientHello != nil {
		needs = append(needs, needECH)
	}
	// Names wait in http, or with an automate loader, until those apps start;
	// from then on tls manages them. Apps start in any order.
	names, known := size(tls, "automateNames")
	managed, also := size(tls, "managing")
	known = known && also
	if app, err := ctx.AppIfConfigured("http"); err == nil {
		waiting, also := size(app.(*caddyhttp.App), "allCertDomains")
		names, known = names+waiting, known && also
	}
	switch {
	case !known:
		needs = append(needs, needUnknown)
	case names+managed > 0 || onDemand(tls):
		needs = append(needs, needCerts)
	}
	return needs
}

// onDemand reports whether certificates are managed at the first handshake.
func onDemand(tls *caddytls.TLS) bool {
	if tls.Automation == nil {
		return false
	}
	for _, policy := range tls.Automation.Policies {
		if policy.OnDemand {
			return true
		}
	}
	return false
}

// size returns how many entries a map has that Caddy does not export.
func size(app any, field string) (n int, known bool) {
	m := reflect.ValueOf(app).Elem().FieldByName(field)
	if !m.IsValid() || m.Kind() != reflect.Map {
		return 0, false
	}
	return m.Len(), true
}
