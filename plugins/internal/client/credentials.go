package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// What every client reads when OVIRT_PROVISION_ADDRESS is host:port. The certificate proves who calls; so does, instead
// of certificate and key, a bearer token. The last two hold what the files would: a container that gets its secrets in the
// environment, as of Rancher, has no files.
const (
	caFileVariable    = "OVIRT_PROVISION_CA_FILE"
	certFileVariable  = "OVIRT_PROVISION_CERT_FILE"
	keyFileVariable   = "OVIRT_PROVISION_KEY_FILE"
	tokenFileVariable = "OVIRT_PROVISION_TOKEN_FILE"
	caVariable        = "OVIRT_PROVISION_CA"
	tokenVariable     = "OVIRT_PROVISION_TOKEN"
)

// dialCredentials is how the daemon at the address is spoken to: in the clear over a unix socket, which is in a folder
// of ours, and with TLS over TCP.
func dialCredentials(address Address, env Environment) ([]grpc.DialOption, error) {
	if address.Socket != "" {
		return []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, nil
	}
	ca, token := fileOrText(env, caFileVariable, caVariable), fileOrText(env, tokenFileVariable, tokenVariable)
	cert, key := env(certFileVariable), env(keyFileVariable)
	missing := ""
	switch {
	case ca.twice || token.twice:
		missing = fmt.Sprintf("%s goes without %s, and %s without %s", caFileVariable, caVariable, tokenFileVariable, tokenVariable)
	case !ca.given():
		missing = caFileVariable + " is not set"
	case (cert == "") != (key == ""):
		missing = certFileVariable + " and " + keyFileVariable + " go together"
	case (cert == "") != token.given():
		missing = "either " + certFileVariable + " or " + tokenFileVariable + " must be set"
	}
	if missing != "" {
		return nil, fmt.Errorf("%s is '%s', and TCP takes TLS: %s; set %s, and either %s with %s or %s; or forward the "+
			"daemon's socket, as in `ssh -L /path/daemon.sock:/path/daemon.sock host`", AddressVariable,
			env(AddressVariable), missing, caFileVariable, certFileVariable, keyFileVariable, tokenFileVariable)
	}
	configuration := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	content, err := ca.read()
	if err != nil {
		return nil, err
	}
	if !configuration.RootCAs.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("%s holds no certificate in PEM format", ca)
	}
	options := []grpc.DialOption{}
	if token.given() {
		bearer, err := token.read()
		if err != nil {
			return nil, err
		}
		if len(strings.TrimSpace(string(bearer))) == 0 {
			return nil, fmt.Errorf("%s holds no token", token)
		}
		options = append(options, grpc.WithPerRPCCredentials(bearerToken(strings.TrimSpace(string(bearer)))))
	} else {
		own, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", certFileVariable, keyFileVariable, err)
		}
		configuration.Certificates = []tls.Certificate{own}
	}
	return append(options, grpc.WithTransportCredentials(credentials.NewTLS(configuration))), nil
}

// source is where a part of the credential is: in a file that a variable names, or in a variable.
type source struct {
	variable, file, text string
	twice                bool
}

func fileOrText(env Environment, fileVariable, variable string) source {
	file, text := env(fileVariable), env(variable)
	if file != "" {
		return source{variable: fileVariable, file: file, twice: text != ""}
	}
	return source{variable: variable, text: text}
}

func (s source) given() bool {
	return s.file != "" || s.text != ""
}

// String names the source, and shows nothing of what it holds.
func (s source) String() string {
	if s.file != "" {
		return s.variable + ": " + s.file
	}
	return s.variable
}

func (s source) read() ([]byte, error) {
	if s.file == "" {
		return []byte(s.text), nil
	}
	content, err := os.ReadFile(s.file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.variable, err)
	}
	return content, nil
}

// bearerToken goes along with every call.
type bearerToken string

func (t bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

func (bearerToken) RequireTransportSecurity() bool { return true }

// tlsPatience is how long a daemon may end our connections before we blame our certificate for it.
const tlsPatience = 3 * time.Second

// tlsDoubt notices that one side does not take the other's certificate, which waiting does not change. The daemon ends
// the connection without a word when it does not take ours, so only time tells that from a daemon that is restarted.
type tlsDoubt struct {
	address Address
	since   time.Time
}

// over is told each failure to reach the daemon and says whether to give up.
func (d *tlsDoubt) over(err error) bool {
	switch {
	case d.address.Socket != "" || strings.Contains(err.Error(), "Error while dialing"):
		d.since = time.Time{}
	case strings.Contains(err.Error(), "tls: "):
		return true
	case d.since.IsZero():
		d.since = time.Now()
	}
	return !d.since.IsZero() && time.Since(d.since) > tlsPatience
}
