# frozen_string_literal: true

require "kitchen/driver/ovirt/request"

RSpec.describe Kitchen::Driver::Ovirt::Request do
  def request(config = {})
    described_class.new(make_driver(config)).create(engine: OvirtProvision::V1::EngineRef.new, key: "k",
                                                    public_key: "ssh-ed25519 AAAA")
  end

  def problems(config)
    request(config)
    []
  rescue Kitchen::UserError => e
    e.message.lines.drop(1).map(&:strip)
  end

  it "leaves to the template what is not given" do
    spec = request.spec
    expect([spec.template.name, spec.template.version, spec.cpu, spec.memory_bytes, spec.nics.to_a,
            spec.boot_disk, spec["clone"], spec.name])
      .to eq(["debian-12", 0, nil, 0, [], nil, false, ""])
  end

  it "tells the guest its name, the user with the key, and DHCP" do
    start = request.start_with
    expect([start.host_name, start.user_name,
            start.authorized_ssh_keys.to_a]).to eq(["web-debian-12", "kitchen", ["ssh-ed25519 AAAA"]])
    expect(start.nic_configurations.map do |nic|
             [nic.name, nic.boot_protocol]
           end).to eq([["eth0", :BOOT_PROTOCOL_DHCP]])
  end

  it "names a template by its id" do
    template = request(template_id: "11111111-1111-4111-8111-111111111111").spec.template
    expect([template.by, template.id]).to eq([:id, "11111111-1111-4111-8111-111111111111"])
  end

  it "takes CPUs as a number of cores or in full" do
    expect(request(cpus: 4).spec.cpu.to_h).to eq(sockets: 1, cores: 4, threads: 1)
    expect(request(cpus: { sockets: 2, cores: 3 }).spec.cpu.to_h).to eq(sockets: 2, cores: 3, threads: 0)
  end

  { 512 => 512 << 20, "512" => 512 << 20, "2 GiB" => 2 << 30, "2gb" => 2 << 30, "1.5 GiB" => nil,
    "2G" => nil }.each do |given, bytes|
    it "#{bytes ? "takes" : "refuses"} #{given.inspect} as memory" do
      refusal = ["* memory: #{given.inspect} is given; it must be a number of MiB or a size such as '4 GiB'"]
      expect(bytes ? request(memory: given).spec.memory_bytes : problems(memory: given)).to eq(bytes || refusal)
    end
  end

  it "counts the boot disk in GiB" do
    expect(request(boot_disk_size: 20).spec.boot_disk.size_bytes).to eq(20 << 30)
  end

  it "passes NICs, static addresses and DNS on" do
    config = { nics: [{ name: "nic1", vnic_profile: "lab/lab" }],
               dns_servers: ["10.0.0.1"], dns_search_domains: "example.com",
               nic_configurations: [{ name: "eth0", static_address: "10.11.0.5/24", gateway: "10.11.0.1" }] }
    made = request(config)
    expect(made.spec.nics.map(&:to_h)).to eq([{ name: "nic1", vnic_profile: "lab/lab" }])
    expect(made.start_with.nic_configurations.map(&:to_h))
      .to eq([{ name: "eth0", boot_protocol: :BOOT_PROTOCOL_STATIC, static_address: "10.11.0.5/24",
                gateway: "10.11.0.1" }])
    expect([made.start_with.dns_servers.to_a,
            made.start_with.dns_search_domains.to_a]).to eq([["10.0.0.1"], ["example.com"]])
  end

  it "takes cloud-config as text or as a structure" do
    expect(request(custom_script: "runcmd: [x]").start_with.custom_script).to eq("runcmd: [x]")
    expect(YAML.safe_load(request(custom_script: { runcmd: [%w[echo
                                                               hi]] }).start_with.custom_script)).to eq("runcmd" => [%w[
                                                                                                          echo hi
                                                                                                        ]])
  end

  it "gives each attempt a name of its own" do
    expect(request.request_id).not_to eq(request.request_id)
  end

  it "tells everything that is wrong at once" do
    wrong = { cpus: "two", full_clone: "yes", nics: [{ name: "nic1", profile: "x" }, 7],
              template_version: "new", cluster: ["a"],
              nic_configurations: [{ name: "eth0", boot_protocol: "bootp" }], boot_disk_size: "big" }
    expect(problems(wrong)).to contain_exactly(
      start_with('* cpus: "two"'), start_with('* full_clone: "yes"'), start_with("* nics[0]:").and(include("profile")),
      start_with("* nics[1]: 7"), start_with('* template_version: "new"'), start_with('* cluster: ["a"]'),
      start_with("* nic_configurations[0].boot_protocol: 'bootp'"), start_with('* boot_disk_size: "big"')
    )
  end

  it "knows the option behind each field of the schema" do
    known = Kitchen::Driver::Ovirt.defaults.keys.map(&:to_s)
    { "spec." => "MachineSpec", "start_with." => "Initialization" }.each do |prefix, type|
      OvirtProvision::V1.const_get(type).descriptor.map(&:name).each do |field|
        expect(known).to include(described_class.option("#{prefix}#{field}")[/\w+/])
      end
    end
    expect(described_class.option("spec.template.version")).to eq("template_version")
    expect(described_class.option("spec.nics[0].vnic_profile")).to eq("nics[0].vnic_profile")
    expect(described_class.option("spec.boot_disk.size_bytes")).to eq("boot_disk_size")
  end
end
