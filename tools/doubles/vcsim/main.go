// vcsim, the vendor's simulator of a vCenter, as a program of its own for tests. Prints its address and ends with its
// standard input.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"

	_ "github.com/vmware/govmomi/pbm/simulator"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

func main() {
	single := flag.Bool("esx", false, "a single host without a vCenter")
	listen := flag.String("listen", "127.0.0.1:0", "address and port")
	user := flag.String("user", "omnivisor", "the only account")
	password := flag.String("password", "secret", "its password")
	secure := flag.Bool("tls", false, "serve by TLS, with a certificate for 127.0.0.1 that signs itself")
	hosts := flag.Int("hosts", 2, "members of the cluster")
	clusters := flag.Int("clusters", 1, "clusters of the datacenter")
	datastores := flag.Int("datastores", 1, "datastores that all members see")
	relocation := flag.Int("relocation", 0, "milliseconds that a relocation takes")
	delays := map[string]int{}
	flag.Func("delay", "task and the milliseconds that it takes, CopyVirtualDisk=500; may be repeated", func(text string) error {
		task, time, _ := strings.Cut(text, "=")
		value, err := strconv.Atoi(time)
		delays[task] = value
		return err
	})
	flag.Parse()

	model := simulator.VPX()
	if *single {
		model = simulator.ESX()
	} else {
		model.Host, model.Cluster, model.ClusterHost = 0, *clusters, *hosts
	}
	model.Machine, model.Datastore = 0, *datastores

	err := model.Create()
	defer model.Remove()
	if err != nil {
		log.Fatal(err)
	}
	service := model.Service
	service.Listen = &url.URL{Host: *listen, User: url.UserPassword(*user, *password)}
	service.RegisterEndpoints = true
	if *secure {
		service.TLS = new(tls.Config)
	}
	serveNfc(model, service)
	service.HandleFunc("/faults", func(w http.ResponseWriter, r *http.Request) { faults(service, w, r) })
	service.HandleFunc("POST /connection", func(w http.ResponseWriter, r *http.Request) { connection(service, w, r) })
	// Locks are not held while a task waits, or nobody could look at what it is about.
	delays["LockHandoff"], delays["RelocateVm"] = 0, *relocation
	simulator.TaskDelay.MethodDelay = delays
	service.HandleFunc("/moving", func(w http.ResponseWriter, r *http.Request) { moving(service, w) })
	server := service.NewServer()
	fmt.Printf("%s://%s\n", server.URL.Scheme, server.URL.Host)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// The VMs that are being relocated.
func moving(service *simulator.Service, w http.ResponseWriter) {
	vms := []string{}
	for _, each := range service.Context.Map.AllReference("Task") {
		if task, ok := each.(*simulator.Task); ok && task.Info.Name == "RelocateVm" && task.Info.State == types.TaskInfoStateRunning {
			vms = append(vms, task.Info.EntityName)
		}
	}
	_ = json.NewEncoder(w).Encode(vms)
}

// A host is lost or found again by its vCenter, and with it what the vCenter knows of its VMs.
func connection(service *simulator.Service, w http.ResponseWriter, r *http.Request) {
	var wish struct {
		Host      string
		Connected bool
	}
	if err := json.NewDecoder(r.Body).Decode(&wish); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	host, vm := types.HostSystemConnectionStateDisconnected, types.VirtualMachineConnectionStateDisconnected
	if wish.Connected {
		host, vm = types.HostSystemConnectionStateConnected, types.VirtualMachineConnectionStateConnected
	}
	ctx := service.Context
	set := func(obj mo.Reference, state types.AnyType) {
		ctx.WithLock(obj, func() {
			ctx.Update(obj, []types.PropertyChange{{Name: "runtime.connectionState", Val: state}})
		})
	}
	found := false
	for _, each := range ctx.Map.All("HostSystem") {
		if system := each.(*simulator.HostSystem); system.Name == wish.Host {
			found = true
			set(system, host)
			for _, each := range ctx.Map.All("VirtualMachine") {
				if on := each.(*simulator.VirtualMachine).Runtime.Host; on != nil && *on == system.Self {
					set(each, vm)
				}
			}
		}
	}
	if !found {
		http.Error(w, "no such host", http.StatusNotFound)
	}
}

// POST makes the next calls of a method fail, after some that do not; DELETE forgets that.
func faults(service *simulator.Service, w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		service.ClearFaultRules()
		return
	}
	var wish struct {
		Method, Fault string
		Times, After  int
	}
	if err := json.NewDecoder(r.Body).Decode(&wish); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	kind, ok := types.TypeFunc()(wish.Fault)
	if !ok {
		http.Error(w, "no such fault", http.StatusBadRequest)
		return
	}
	service.AddFaultRule(&simulator.FaultInjectionRule{
		MethodName: wish.Method, ObjectType: "*", ObjectName: "*", Probability: 1, Enabled: true,
		FaultType: simulator.FaultTypeCustom, Fault: reflect.New(kind).Interface().(types.BaseMethodFault),
		MaxCount: wish.Times, SkipCount: wish.After,
	})
}
