# frozen_string_literal: true

require "kitchen/driver/ovirt/request"

RSpec.describe Kitchen::Driver::Ovirt::Request do
  def request(config = {}, os_type: "unix", **more)
    driver = make_driver({ **config, **more }, os_type: os_type)
    described_class.new(driver).create(engine: OvirtProvision::V1::EngineRef.new, key: "tk-web-1",
                                       public_key: "ssh-ed25519 AAAA")
  end

  def problems(config)
    request(config)
    []
  rescue Kitchen::UserError => e
    e.message.lines.drop(1).map { |line| line.strip.delete_prefix("* ") }
  end

  it "leaves to the template what is not given" do
    given = request.spec.to_h.reject { |_, value| [nil, "", 0, [], {}, false].include?(value) || value.to_s =~ /UNSPECIFIED/ }
    expect(given.keys).to contain_exactly(:template, :description)
    expect(request.spec.template.to_h).to include(name: "debian-12", version: 0)
  end

  it "tells the guest its name, the user with the key, and DHCP" do
    start = request.start_with
    expect([start.host_name, start.user_name, start.authorized_ssh_keys.to_a])
      .to eq(["web-debian-12", "kitchen", ["ssh-ed25519 AAAA"]])
    expect(start.nic_configurations.map { |nic| [nic.name, nic.boot_protocol] }).to eq([["eth0", :BOOT_PROTOCOL_DHCP]])
  end

  it "undoes a failed create unless it is told otherwise" do
    expect(request.on_failure).to eq(:ON_FAILURE_DESTROY)
    expect(request(on_failure: "keep").on_failure).to eq(:ON_FAILURE_KEEP)
  end

  it "names a template by its id" do
    template = request(template_id: "11111111-1111-4111-8111-111111111111").spec.template
    expect([template.by, template.id]).to eq([:id, "11111111-1111-4111-8111-111111111111"])
  end

  it "takes a version of the template, or the latest" do
    expect([3, "3", "latest", nil].map { |given| request(template_version: given).spec.template.version }).to eq([3, 3, 0, 0])
  end

  it "takes a name of the VM, or a prefix" do
    expect(request.spec.name).to eq("")
    expect(request(vm_name: "fixed", vm_name_prefix: "ci-").spec.name).to eq("fixed")
    expect(request(vm_name_prefix: "ci-").spec.name).to eq("ci-web-1")
  end

  it "takes CPUs as a number of cores or in full" do
    expect(request(cpus: 4).spec.cpu.to_h).to eq(sockets: 1, cores: 4, threads: 1)
    expect(request(cpus: { sockets: 2, cores: 3 }).spec.cpu.to_h).to eq(sockets: 2, cores: 3, threads: 0)
  end

  { 512 => 512 << 20, "512" => 512 << 20, "2 GiB" => 2 << 30, "2gb" => 2 << 30 }.each do |given, bytes|
    it "takes #{given.inspect} as memory" do
      expect(request(memory: given).spec.memory_bytes).to eq(bytes)
    end
  end

  { boot_disk_size: 20, boot_disk: { size: "20 GiB" } }.each do |option, given|
    it "takes #{given} as #{option}" do
      expect(request(option => given).spec.boot_disk.size_bytes).to eq(20 << 30)
    end
  end

  it "passes every kind of disk on" do
    spec = request(disks: [{ size: 10, name: "data", interface: "virtio", format: "raw", sparse: false, storage_domain: "fast" }],
                   template_disks: [{ name: "swap", size: "4 GiB" }], storage_domain: "data",
                   attached_disks: [{ id: "d", read_only: true }]).spec
    expect(spec.new_disks.first.to_h)
      .to include(size_bytes: 10 << 30, name: "data", interface: :DISK_INTERFACE_VIRTIO, format: :DISK_FORMAT_RAW, sparse: false,
                  storage_domain: "fast")
    expect([spec.template_disks.first.size_bytes, spec.attached_disks.first.read_only, spec.storage_domain])
      .to eq([4 << 30, true, "data"])
  end

  it "passes on what lies in the drives at the first start" do
    made = request(operating_system: "debian_9", vnc_console: true,
                   start_media: { cd_rom: { name: "tools.iso" }, boot_order: %w[hd cdrom],
                                  payload: { type: "floppy", files: [{ name: "ks.cfg", content: "text" }] } })
    expect(made.spec.to_h).to include(operating_system: "debian_9", vnc_console: true)
    expect(made.start_media.cd_rom.name).to eq("tools.iso")
    expect(made.start_media.boot_order.to_a).to eq(%i[BOOT_DEVICE_HD BOOT_DEVICE_CDROM])
    expect(made.start_media.payload.to_h).to include(type: :TYPE_FLOPPY, files: [{ name: "ks.cfg", content: "text" }])
  end

  it "passes hardware and placement on" do
    spec = request(guaranteed_memory: 256, instance_type: "Large", bios_type: "q35_ovmf", tpm: true, virtio_scsi: false,
                   placement: { hosts: ["host1"], affinity: "pinned" }, affinity_groups: ["apart"], affinity_labels: "gpu",
                   quota: "ci", custom_properties: { sap_agent: true }, tags: %w[ci kitchen],
                   nics: [{ name: "n", network: "lab", interface: "e1000", mac: "56:6f:ab:cd:00:05", linked: false }]).spec.to_h
    expect(spec).to include(guaranteed_memory_bytes: 256 << 20, instance_type: "Large", bios_type: :BIOS_TYPE_Q35_OVMF, tpm: true,
                            virtio_scsi: false, placement: { hosts: ["host1"], affinity: :AFFINITY_PINNED },
                            affinity_groups: ["apart"], affinity_labels: ["gpu"], quota: "ci",
                            custom_properties: { "sap_agent" => "true" }, tags: %w[ci kitchen])
    expect(spec[:nics].first).to include(network: "lab", interface: :NIC_INTERFACE_E1000, linked: false)
  end

  { 90 => 90, "90" => 90, "90s" => 90, "30m" => 1800, "8h" => 28_800, "2d" => 172_800 }.each do |given, seconds|
    it "takes #{given.inspect} as a time" do
      expect(request(timeouts: { address: given }).timeouts["address"].seconds).to eq(seconds)
      expect(described_class.new(make_driver({ ttl: given })).ttl.seconds).to eq(seconds)
    end
  end

  it "lives for ever unless a ttl is given" do
    expect(described_class.new(make_driver).ttl).to be_nil
  end

  it "passes NICs, static addresses and DNS on" do
    config = { nics: [{ name: "nic1", vnic_profile: "lab/lab" }],
               dns_servers: ["10.0.0.1"], dns_search_domains: "example.com",
               nic_configurations: [{ name: "eth0", static_address: "10.11.0.5/24", gateway: "10.11.0.1" },
                                    { "name" => "eth1" }] }
    made = request(config)
    expect(made.spec.nics.map(&:to_h)).to contain_exactly(include(name: "nic1", vnic_profile: "lab/lab"))
    expect(made.start_with.nic_configurations.map(&:to_h))
      .to match([include(name: "eth0", boot_protocol: :BOOT_PROTOCOL_STATIC, static_address: "10.11.0.5/24",
                         gateway: "10.11.0.1"), include(name: "eth1", boot_protocol: :BOOT_PROTOCOL_DHCP)])
    expect([made.start_with.dns_servers.to_a, made.start_with.dns_search_domains.to_a]).to eq([["10.0.0.1"], ["example.com"]])
  end

  it "asks for an address of a range" do
    nic = request(nic_configurations: [{ name: "eth0",
                                         static_range: "10.11.0.50-10.11.0.99/24" }]).start_with.nic_configurations.first
    expect([nic.boot_protocol, nic.static_range]).to eq([:BOOT_PROTOCOL_STATIC, "10.11.0.50-10.11.0.99/24"])
  end

  it "takes user data as text, from a file of the project, and cloud-config as a structure" do
    File.write(File.join(folder, "first-boot.yml"), "#cloud-config\nruncmd: [x]\n")
    expect(request(user_data: "runcmd: [x]\n").start_with.user_data).to eq("runcmd: [x]\n")
    expect(request(user_data: "first-boot.yml").start_with.user_data).to eq("#cloud-config\nruncmd: [x]\n")
    made = request(cloud_config: { runcmd: [%w[echo hi]] }).start_with.user_data
    expect(YAML.safe_load(made)).to eq("runcmd" => [%w[echo hi]])
  end

  it "takes ignition as text, from a file, or as a structure, and then configures nothing else" do
    File.write(File.join(folder, "first.ign"), "{}")
    expect([{ ignition: { version: "3.0.0" } }, '{"a": 1}', "first.ign"].map do |given|
             request(ignition: given).start_with.ignition
           end)
      .to eq(['{"ignition":{"version":"3.0.0"}}', '{"a": 1}', "{}"])
    expect(request(ignition: {}).start_with.nic_configurations).to be_empty
  end

  it "passes files, time zone and the choice of addresses on" do
    made = request(files: [{ path: "/etc/motd", content: "grüezi", permissions: "0644" }], time_zone: "Europe/Berlin",
                   ssh_password_authentication: true,
                   address_selection: { nics: "nic1", family: "ipv6", ignored_cidrs: ["10.0.0.0/8"], settle_time: "5s" })
    expect(made.start_with.files.first.content).to eq("grüezi".b)
    expect([made.start_with.time_zone, made.start_with.ssh_password_authentication]).to eq(["Europe/Berlin", true])
    expect(made.address_selection.to_h).to include(nics: ["nic1"], family: :FAMILY_IPV6, ignored_cidrs: ["10.0.0.0/8"])
    expect(made.address_selection.settle_time.seconds).to eq(5)
  end

  it "gives each attempt a name of its own" do
    expect(request.request_id).not_to eq(request.request_id)
  end

  describe "a configuration that is wrong" do
    {
      { cpus: "two" } => 'cpus: "two" is given; it must be a whole number',
      { cpus: { cors: 2 } } => "cpus.cors: is no option here; did you mean 'cores'?",
      { memory: "1.5 GiB" } => "memory: \"1.5 GiB\" is given; it must be a number of MiB or a size such as '4 GiB'",
      { memory: "2G" } => "memory: \"2G\" is given; it must be a number of MiB or a size such as '4 GiB'",
      { boot_disk_size: "big" } => "boot_disk_size: \"big\" is given; it must be a number of GiB or a size such as '4 GiB'",
      { boot_disk: 20 } => "boot_disk: 20 is given; it must be a map",
      { boot_disk: { size: 1 }, boot_disk_size: 1 } => "boot_disk_size: is given, and so is boot_disk; put the size there",
      { full_clone: "yes" } => 'full_clone: "yes" is given; it must be true or false',
      { template_version: "new" } => 'template_version: "new" is given; it must be a whole number',
      { template: ["a"] } => 'template: ["a"] is given; it must be text',
      { cluster: ["a"] } => 'cluster: ["a"] is given; it must be text',
      { vm_name_prefix: {} } => "vm_name_prefix: {} is given; it must be text",
      { disks: [{ sise: 5 }] } => "disks[0].sise: is no option here; did you mean 'size'?",
      { disks: [{ size: "5" }, { size: "five" }] } =>
        "disks[1].size: \"five\" is given; it must be a number of GiB or a size such as '4 GiB'",
      { disks: [{ size: 1, interface: "scsi" }] } =>
        'disks[0].interface: "scsi" is given; it must be one of virtio_scsi, virtio, sata, ide',
      { bios_type: "uefi" } => /\Abios_type: "uefi" is given; it must be one of .*q35_ovmf/,
      { ignition: "missing.ign" } => /\Aignition: "missing.ign" is given; it must be text, or a file/,
      { ssh_key: "/k",
        sysprep: { admin_passwort: "x" } } => "sysprep.admin_passwort: is no option here; did you mean 'admin_password'?",
      { files: [{ path: "/a", mode: 1 }] } => "files[0].mode: is no option here; there are path, content, permissions, owner",
      { address_selection: { family: 4 } } => "address_selection.family: 4 is given; it must be one of ipv4, ipv6",
      { placement: "host1" } => 'placement: "host1" is given; it must be a map',
      { custom_properties: ["a"] } => 'custom_properties: ["a"] is given; it must be a map',
      { tpm: "on" } => 'tpm: "on" is given; it must be true or false',
      { nics: "nic1" } => 'nics[0]: "nic1" is given; it must be a map',
      { nics: [{ vnic_profil: "x" }] } => "nics[0].vnic_profil: is no option here; did you mean 'vnic_profile'?",
      { nic_configurations: [{ name: "eth0", boot_protocol: "bootp" }] } =>
        /\Anic_configurations\[0\].boot_protocol: "bootp" is given; it must be one of dhcp, none, static/,
      { dns_servers: [{}] } => "dns_servers[0]: {} is given; it must be text",
      { on_failure: "stay" } => 'on_failure: "stay" is given; it must be one of destroy, stop, keep',
      { ttl: "soon" } => 'ttl: "soon" is given; it must be a number of seconds or a time such as 90s, 30m, 8h or 2d',
      { timeouts: { address: "soon" } } =>
        'timeouts.address: "soon" is given; it must be a number of seconds or a time such as 90s, 30m, 8h or 2d',
      { timeouts: 5 } => "timeouts: 5 is given; it must be a map",
      { user_data: "missing.yml" } => /\Auser_data: "missing.yml" is given; it must be text, or a file that can be read/,
      { user_data: "x\n", cloud_config: {} } => "cloud_config: is given, and so is user_data; put both into one of them",
      { cloud_config: "runcmd" } => 'cloud_config: "runcmd" is given; it must be a map',
      { cpu: 2 } => "cpu: is no option of this driver; did you mean 'cpus'?",
      { memmory: 1 } => "memmory: is no option of this driver; did you mean 'memory'?",
      { engine_url: "https://e" } => "engine_url: is no option of this driver; set OVIRT_URL, or name an engine profile " \
                                     "of the daemon by 'engine'",
      { vm_password: "root123" } => "vm_password: is no option of this driver; leave it out: the instance gets a key of its own"
    }.each do |config, problem|
      it "such as #{config} is refused with what is allowed" do
        expect(problems(config)).to contain_exactly(problem)
      end
    end

    it "is told as a whole" do
      wrong = { cpus: "two", full_clone: "yes", nics: [{ name: "nic1", profile: "x" }, 7], ttl: "soon", memmory: 1 }
      expect(problems(wrong).map { |problem| problem[/\A[^:]+/] })
        .to contain_exactly("cpus", "full_clone", "nics[0].profile", "nics[1]", "ttl", "memmory")
    end

    it "does not show a secret of an option that is not one" do
      expect(problems(ovirt_password: "canary")).to contain_exactly(/OVIRT_PASSWORD\z/)
    end
  end

  it "has an option for each field of the schema" do
    known = Kitchen::Driver::Ovirt.defaults.keys.map(&:to_s)
    { "spec." => "MachineSpec", "start_with." => "Initialization", "" => "CreateMachineRequest" }.each do |prefix, type|
      fields = OvirtProvision::V1.const_get(type).descriptor.map(&:name)
      (fields - %w[request_id key spec start_with validate_only]).each do |field|
        expect(known).to include(described_class.option("#{prefix}#{field}")[/\w+/])
      end
    end
  end

  it "knows the option behind a field" do
    { "spec.new_disks[0].size_bytes" => "disks[0].size", "spec.template.version" => "template_version",
      "spec.nics[0].vnic_profile" => "nics[0].vnic_profile",
      "spec.boot_disk.size_bytes" => "boot_disk.size", "spec.memory_bytes" => "memory", "spec.name" => "vm_name",
      "start_with.nic_configurations[1].gateway" => "nic_configurations[1].gateway", "timeouts.adress" => "timeouts.adress",
      "start_with.user_name" => "username" }.each do |field, option|
      expect(described_class.option(field)).to eq(option)
    end
  end

  describe "#package" do
    def package(config = {}, **around)
      described_class.new(make_driver({ package: config }, **around)).package(engine: OvirtProvision::V1::EngineRef.new, key: "k")
    end

    it "seals into a template of the instance's name" do
      expect(package.to_h).to include(name: "web-debian-12", seal: true, machine_key: "k")
    end

    it "cannot seal Windows" do
      expect(package({}, os_type: "windows").seal).to be(false)
    end

    it "takes every field of the template" do
      expect(package({ name: "golden", description: "d", version_name: "v", seal: false, keep_versions: 3, tags: ["ci"],
                       permissions: [{ role: "UserTemplateBasedVm", group: "Everyone" }],
                       boot_test: { initialization: { user_name: "test" } }, disk_format: "raw", storage_domain: "fast" }).to_h)
        .to include(name: "golden", description: "d", version_name: "v", seal: false, keep_versions: 3, tags: ["ci"],
                    permissions: [include(role: "UserTemplateBasedVm", group: "Everyone")], storage_domain: "fast",
                    boot_test: include(initialization: include(user_name: "test")), disk_format: :DISK_FORMAT_RAW)
    end

    it "names what is no option" do
      expect { package({ machine_key: "x" }) }.to raise_error(Kitchen::UserError, /package\.machine_key: is the driver's to say/)
      expect { package({ nme: "x" }) }.to raise_error(Kitchen::UserError, /package\.nme: is no option here; did you mean 'name'/)
      expect { described_class.new(make_driver({ package: 7 })).package(engine: nil, key: "k") }
        .to raise_error(Kitchen::UserError, /package: 7 is given; it must be a map/)
    end
  end
end
