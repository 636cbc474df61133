// Package fakedaemon is a daemon for the tests of the shims: it speaks the whole schema over a unix socket, records each
// call, enforces the schema's rules, keeps Machines and Templates in memory, and misbehaves as a test tells it to.
package fakedaemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "github.com/ovirt-provision/ovirt-provision/plugins/internal/ovirtprovisionv1"
)

// Ids that the fake gives out.
const (
	MachineID    = "11111111-1111-4111-8111-111111111111"
	TemplateID   = "22222222-2222-4222-8222-222222222222"
	SourceID     = "33333333-3333-4333-8333-333333333333"
	DiskID       = "66666666-6666-4666-8666-666666666666"
	ImportedID   = "88888888-8888-4888-8888-888888888888"
	NetworkID    = "77777777-7777-4777-8777-777777777777"
	Installation = "55555555-5555-4555-8555-555555555555"
)

// Behaviour is how the fake treats the calls of one method.
type Behaviour struct {
	// OnCall runs when a call has arrived, before its answer.
	OnCall func()
	// Refuse is the error of the call itself.
	Refuse error
	// RefuseTimes bounds Refuse to the first calls; 0 means all.
	RefuseTimes int
	// Steps are snapshots that the verb's operation goes through before it ends; only phase, percent and progress count.
	Steps []*pb.Operation
	// Hang keeps the operation running until it is cancelled or released (see Release).
	Hang bool
	// DeafToCancel makes the operation end as if there had been no cancel.
	DeafToCancel bool
	// Fail is the error with which the operation ends.
	Fail *pb.Error
	// Warnings are those of the operation when it has succeeded.
	Warnings []string
	// CleanupPending leaves something to be cleaned up when the operation has failed.
	CleanupPending bool
}

// Daemon is a fake daemon.
type Daemon struct {
	pb.UnimplementedMachineServiceServer
	pb.UnimplementedTemplateServiceServer
	pb.UnimplementedDiskServiceServer
	pb.UnimplementedNetworkServiceServer
	pb.UnimplementedImageServiceServer
	pb.UnimplementedConsoleServiceServer
	pb.UnimplementedOperationServiceServer
	pb.UnimplementedEngineServiceServer

	// Address is what OVIRT_PROVISION_ADDRESS has to be.
	Address string
	// EngineURL is the URL of the engine. Set before it is asked for.
	EngineURL string
	// Installation is the installation id of the daemon. Set before it is asked for.
	Installation string
	// Addresses are what a started Machine reports. Set before it is created.
	Addresses []*pb.Address
	// TemplateStatus is what GetTemplate reports.
	TemplateStatus pb.Template_Status

	socket string
	server *grpc.Server
	health *health.Server

	mu         sync.Mutex
	calls      []string
	counts     map[string]int
	called     chan string
	behaviours map[string]Behaviour
	operations map[string]*operation
	requests   map[string]string
	machines   map[string]*pb.Machine
	templates  map[string]*pb.Template
	disks      map[string]*pb.DiskInfo
	images     map[string][]byte
	imports    map[string]string
	typed      []string
	lease      time.Duration
	leaseError error
	once       sync.Once
	checked    chan struct{}
}

// operation is one run of a verb.
type operation struct {
	behaviour Behaviour
	effect    func(*pb.Operation)
	failed    []func(*pb.Operation)
	changed   chan struct{}
	release   chan struct{}
	cancel    chan struct{}
	snapshots []*pb.Operation
}

// Start serves a fake daemon until the test ends.
func Start(t testing.TB) *Daemon {
	t.Helper()
	folder, err := os.MkdirTemp("", "fakedaemon")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	d := New()
	if err := d.Serve(filepath.Join(folder, "daemon.sock")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	return d
}

// New makes a fake daemon that does not listen yet.
func New() *Daemon {
	return &Daemon{
		EngineURL:      "https://engine.example.com/ovirt-engine/api",
		Installation:   Installation,
		Addresses:      []*pb.Address{{Ip: "127.0.0.9", Mac: "56:6f:00:00:00:01", Nic: "nic1", Interface: "eth0"}},
		TemplateStatus: pb.Template_STATUS_OK,
		counts:         map[string]int{},
		called:         make(chan string, 1000),
		behaviours:     map[string]Behaviour{},
		operations:     map[string]*operation{},
		requests:       map[string]string{},
		machines:       map[string]*pb.Machine{},
		templates:      map[string]*pb.Template{},
		disks:          map[string]*pb.DiskInfo{},
		images:         map[string][]byte{},
		imports:        map[string]string{},
		lease:          30 * time.Second,
		checked:        make(chan struct{}),
	}
}

// Serve listens on a socket. What the daemon knows survives Stop and another Serve, as the ledger does.
func (d *Daemon) Serve(socket string) error {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	d.ServeOn(listener)
	d.socket, d.Address = socket, "unix:"+socket
	return nil
}

// ServeOn serves on a listener.
func (d *Daemon) ServeOn(listener net.Listener) {
	d.server = grpc.NewServer(grpc.UnaryInterceptor(d.intercept))
	pb.RegisterMachineServiceServer(d.server, d)
	pb.RegisterTemplateServiceServer(d.server, d)
	pb.RegisterDiskServiceServer(d.server, d)
	pb.RegisterNetworkServiceServer(d.server, d)
	pb.RegisterImageServiceServer(d.server, d)
	pb.RegisterConsoleServiceServer(d.server, d)
	pb.RegisterOperationServiceServer(d.server, d)
	pb.RegisterEngineServiceServer(d.server, d)
	d.health = health.NewServer()
	healthpb.RegisterHealthServer(d.server, d.health)
	go func() { _ = d.server.Serve(listener) }()
}

// Stop ends the daemon as kill -9 does.
func (d *Daemon) Stop() {
	d.server.Stop()
}

// Restart stops the daemon and serves again at the same address.
func (d *Daemon) Restart() error {
	d.Stop()
	return d.Serve(d.socket)
}

// Serving says whether the health service reports SERVING.
func (d *Daemon) Serving(serving bool) {
	state := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthpb.HealthCheckResponse_SERVING
	}
	d.health.SetServingStatus("", state)
}

// HealthChecked is closed when somebody has asked for the health.
func (d *Daemon) HealthChecked() <-chan struct{} {
	return d.checked
}

// On sets how calls of a method, such as CreateMachine, are treated from now on. Those with validate_only are a method
// of their own here: ValidateCreateMachine.
func (d *Daemon) On(method string, behaviour Behaviour) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.behaviours[method] = behaviour
	d.counts[method] = 0
}

// SetLease sets how often leases are to be renewed, and the error of RenewLease from now on, or nil.
func (d *Daemon) SetLease(interval time.Duration, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lease, d.leaseError = interval, err
}

// AddTemplate puts a template into the engine.
func (d *Daemon) AddTemplate(id, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.templates[id] = &pb.Template{Id: id, Name: name, Version: 1, Status: pb.Template_STATUS_OK}
}

// SetStatus has GetMachine report a Machine as so.
func (d *Daemon) SetStatus(key string, status pb.Machine_Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	changed := proto.CloneOf(d.machines[key])
	changed.Status = status
	d.machines[key] = changed
}

// AddMachine adds a Machine that stands, beside those that are created.
func (d *Daemon) AddMachine(key, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.machines[key] = &pb.Machine{Key: key, Id: id, Status: pb.Machine_STATUS_UP}
}

// Calls are the calls so far as `Method {request as JSON}`, without health checks and RenewLease, whose number
// depends on time.
func (d *Daemon) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// Methods are the methods of Calls.
func (d *Daemon) Methods() []string {
	var methods []string
	for _, call := range d.Calls() {
		method, _, _ := strings.Cut(call, " ")
		methods = append(methods, method)
	}
	return methods
}

// WaitCall waits until a method has been called once more, RenewLease included.
func (d *Daemon) WaitCall(ctx context.Context, method string) error {
	for {
		select {
		case called := <-d.called:
			if called == method {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("%s was not called: %w", method, ctx.Err())
		}
	}
}

// Left names what stands in the fake engine: keys of Machines, names of Templates and disks.
func (d *Daemon) Left() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var left []string
	for key := range d.machines {
		left = append(left, "machine "+key)
	}
	for template := range maps.Values(d.templates) {
		left = append(left, "template "+template.Name)
	}
	for disk := range maps.Values(d.disks) {
		left = append(left, "disk "+disk.Name)
	}
	slices.Sort(left)
	return left
}

// Running counts the operations that have not ended.
func (d *Daemon) Running() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	running := 0
	for _, operation := range d.operations {
		if operation.last().EndTime == nil {
			running++
		}
	}
	return running
}

// Release lets hanging operations go on.
func (d *Daemon) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, operation := range d.operations {
		closeOnce(operation.release)
	}
}

// intercept records a call, holds it against the schema and refuses it where a test wants that.
func (d *Daemon) intercept(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler,
) (any, error) {
	if strings.HasPrefix(info.FullMethod, "/grpc.health") {
		d.once.Do(func() { close(d.checked) })
		return handle(ctx, request)
	}
	method := path.Base(info.FullMethod)
	behaviour, refuse := d.record(method, request.(proto.Message))
	if behaviour.OnCall != nil {
		behaviour.OnCall()
	}
	if refuse {
		return nil, behaviour.Refuse
	}
	if err := protovalidate.Validate(request.(proto.Message)); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return handle(ctx, request)
}

func (d *Daemon) record(method string, request proto.Message) (behaviour Behaviour, refuse bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if method != "RenewLease" {
		d.calls = append(d.calls, method+" "+asJSON(request))
	}
	select {
	case d.called <- method:
	default:
	}
	if validating, can := request.(interface{ GetValidateOnly() bool }); can && validating.GetValidateOnly() {
		method = "Validate" + method
	}
	d.counts[method]++
	behaviour = d.behaviours[method]
	refuse = behaviour.Refuse != nil && (behaviour.RefuseTimes == 0 || d.counts[method] <= behaviour.RefuseTimes)
	return behaviour, refuse
}

// asJSON is a message as JSON that does not vary from run to run, which protojson's own white space does.
func asJSON(message proto.Message) string {
	encoded, err := protojson.Marshal(message)
	if err != nil {
		return err.Error()
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, encoded); err != nil {
		return err.Error()
	}
	return compact.String()
}

func closeOnce(channel chan struct{}) {
	select {
	case <-channel:
	default:
		close(channel)
	}
}
