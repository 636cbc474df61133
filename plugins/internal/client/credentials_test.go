package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// authority is a CA and the files of what it signs.
type authority struct {
	t           *testing.T
	folder      string
	caFile      string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, folder: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a.certificate, a.key = template, newKey(t)
	a.caFile = a.write("ca.pem", "CERTIFICATE", a.signed(template, a.key))
	return a
}

// client makes a certificate for an owner and returns its files; hours are left.
func (a *authority) client(owner string, hours int) (certFile, keyFile string) {
	a.t.Helper()
	uri, err := url.Parse(owner)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.sign(&x509.Certificate{URIs: []*url.URL{uri}}, hours)
}

func (a *authority) sign(template *x509.Certificate, hours int) (certFile, keyFile string) {
	a.t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-24*time.Hour), time.Now().Add(time.Duration(hours)*time.Hour)
	key := newKey(a.t)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	name := template.SerialNumber.String()
	return a.write(name+".pem", "CERTIFICATE", a.signed(template, key)), a.write(name+".key", "PRIVATE KEY", encoded)
}

func (a *authority) signed(template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	a.t.Helper()
	signed, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed
}

func (a *authority) write(name, kind string, content []byte) string {
	a.t.Helper()
	path := filepath.Join(a.folder, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// whoami answers GetEngine with what proves the caller.
type whoami struct {
	pb.UnimplementedEngineServiceServer
}

func (whoami) GetEngine(ctx context.Context, _ *pb.GetEngineRequest) (*pb.GetEngineResponse, error) {
	sender, _ := peer.FromContext(ctx)
	security := sender.AuthInfo.(credentials.TLSInfo)
	proof := ""
	for _, certificate := range security.State.PeerCertificates {
		proof += certificate.URIs[0].String()
	}
	values, _ := metadata.FromIncomingContext(ctx)
	for _, value := range values.Get("authorization") {
		proof += value
	}
	if proof == "Bearer wrong" {
		return nil, status.Error(codes.Unauthenticated, "its bearer token is not known")
	}
	return &pb.GetEngineResponse{Engine: &pb.Engine{Username: proof}}, nil
}

// serveTLS serves until the test ends and returns host:port.
func serveTLS(t *testing.T, a *authority, clientCertificates bool) string {
	t.Helper()
	certFile, keyFile := a.sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, 1)
	own, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	configuration := &tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: x509.NewCertPool()}
	if clientCertificates {
		ca, err := os.ReadFile(a.caFile)
		if err != nil {
			t.Fatal(err)
		}
		configuration.ClientCAs.AppendCertsFromPEM(ca)
		configuration.ClientAuth = tls.RequireAndVerifyClientCert
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(configuration)))
	healthpb.RegisterHealthServer(server, health.NewServer())
	pb.RegisterEngineServiceServer(server, whoami{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// callTLS connects with these variables and asks who we are.
func callTLS(t *testing.T, variables map[string]string) (string, error) {
	t.Helper()
	c, err := Connect(t.Context(), Options{Environment: environment(variables), Timeouts: Timeouts{Connect: 10 * time.Second}})
	if err != nil {
		return "", err
	}
	defer c.Close()
	reply, err := c.Engines.GetEngine(t.Context(), &pb.GetEngineRequest{})
	return reply.GetEngine().GetUsername(), err
}

func TestACertificateSaysWhoCalls(t *testing.T) {
	a := newAuthority(t)
	address := serveTLS(t, a, true)
	certFile, keyFile := a.client("spiffe://example.com/ci", 1)
	who, err := callTLS(t, map[string]string{
		AddressVariable: address, caFileVariable: a.caFile, certFileVariable: certFile, keyFileVariable: keyFile,
	})
	if err != nil || who != "spiffe://example.com/ci" {
		t.Errorf("got %q, %v", who, err)
	}
}

func TestATokenSaysWhoCalls(t *testing.T) {
	a := newAuthority(t)
	address := serveTLS(t, a, false)
	tokenFile := filepath.Join(t.TempDir(), "token")
	for token, want := range map[string]string{"secret\n": "Bearer secret", "wrong": ""} {
		if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		who, err := callTLS(t, map[string]string{AddressVariable: address, caFileVariable: a.caFile, tokenFileVariable: tokenFile})
		if who != want || (want == "") != (status.Code(err) == codes.Unauthenticated) {
			t.Errorf("%q: got %q, %v", token, who, err)
		}
	}
}

// As a container has them that gets its secrets in the environment.
func TestATokenAndACAMayBeInVariables(t *testing.T) {
	a := newAuthority(t)
	address := serveTLS(t, a, false)
	ca, err := os.ReadFile(a.caFile)
	if err != nil {
		t.Fatal(err)
	}
	who, err := callTLS(t, map[string]string{AddressVariable: address, caVariable: string(ca), tokenVariable: "secret\n"})
	if who != "Bearer secret" || err != nil {
		t.Errorf("got %q, %v", who, err)
	}
	_, err = callTLS(t, map[string]string{AddressVariable: address, caVariable: "canary", tokenVariable: "secret"})
	mustSay(t, err, "OVIRT_PROVISION_CA holds no certificate in PEM format")
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("the error shows what the variable holds: %v", err)
	}
}

func TestTLSIsRefusedAtOnce(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	address := serveTLS(t, a, true)
	certFile, keyFile := a.client("spiffe://example.com/ci", 1)
	expiredCert, expiredKey := a.client("spiffe://example.com/ci", -1)
	strangersCert, strangersKey := other.client("spiffe://example.com/ci", 1)
	for name, test := range map[string]struct{ ca, cert, key, says string }{
		"a daemon of another CA":        {other.caFile, certFile, keyFile, "unknown authority"},
		"an expired certificate":        {a.caFile, expiredCert, expiredKey, "tls: "},
		"a certificate of another CA":   {a.caFile, strangersCert, strangersKey, "tls: "},
		"a key of another certificate":  {a.caFile, certFile, expiredKey, "private key does not match"},
		"a certificate that is missing": {a.caFile, "/absent.pem", keyFile, "/absent.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := callTLS(t, map[string]string{
				AddressVariable: address, caFileVariable: test.ca, certFileVariable: test.cert, keyFileVariable: test.key,
			})
			mustSay(t, err, test.says)
			if time.Since(began) > 8*time.Second || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it took until the time-out to say so: %v", err)
			}
		})
	}
}

// A daemon on gRPC's C core does not say that it refuses a certificate.
func TestADaemonThatEndsEveryConnectionIsGivenUp(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_ = connection.Close()
		}
	}()
	a := newAuthority(t)
	certFile, keyFile := a.client("spiffe://example.com/ci", 1)
	_, err = callTLS(t, map[string]string{
		AddressVariable: listener.Addr().String(), caFileVariable: a.caFile, certFileVariable: certFile, keyFileVariable: keyFile,
	})
	mustSay(t, err, "at 127.0.0.1:", "do not accept each other", "yours is not expired")
}

// No daemon listens there: what is missing is told before anything is sent.
func TestPlainTCPIsRefused(t *testing.T) {
	a := newAuthority(t)
	certFile, keyFile := a.client("spiffe://example.com/ci", 1)
	for name, test := range map[string]struct {
		variables map[string]string
		says      string
	}{
		"nothing":    {nil, "OVIRT_PROVISION_CA_FILE is not set"},
		"a CA alone": {map[string]string{caFileVariable: a.caFile}, "either OVIRT_PROVISION_CERT_FILE or OVIRT_PROVISION_TOKEN_FILE"},
		"a certificate alone": {
			map[string]string{caFileVariable: a.caFile, certFileVariable: certFile}, "OVIRT_PROVISION_KEY_FILE go together",
		},
		"both": {
			map[string]string{caFileVariable: a.caFile, certFileVariable: certFile, keyFileVariable: keyFile, tokenFileVariable: keyFile},
			"either OVIRT_PROVISION_CERT_FILE or OVIRT_PROVISION_TOKEN_FILE",
		},
		"a token twice": {
			map[string]string{caFileVariable: a.caFile, tokenFileVariable: keyFile, tokenVariable: "secret"},
			"OVIRT_PROVISION_TOKEN_FILE without OVIRT_PROVISION_TOKEN",
		},
		"a CA that is none": {map[string]string{caFileVariable: keyFile, tokenFileVariable: keyFile}, "no certificate in PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			variables := map[string]string{AddressVariable: "127.0.0.1:1"}
			for variable, value := range test.variables {
				variables[variable] = value
			}
			_, err := callTLS(t, variables)
			mustSay(t, err, test.says)
		})
	}
}
