# frozen_string_literal: true

RSpec.describe OvirtProvision::Engine do
  let(:authority) { File.join(folder, "ca.pem").tap { |path| File.write(path, "certificate") } }
  let(:environment) { { "OVIRT_URL" => "https://e/ovirt-engine/api", "OVIRT_USERNAME" => "admin@internal", "OVIRT_PASSWORD" => "secret" } }

  it "is a profile alone where one is named" do
    expect(described_class.reference("lab", environment)).to eq(profile: "lab")
  end

  it "is the daemon's default where nothing is said" do
    expect(described_class.reference(nil, {})).to eq(profile: "")
  end

  it "has the fingerprint that the schema describes" do
    sha = ->(text) { Digest::SHA256.hexdigest(text) }
    expect(described_class.reference(nil, environment)).to eq(fingerprint: sha["https://e/ovirt-engine/api\nadmin@internal\n"])
    expect(described_class.reference("", environment.merge("OVIRT_CAFILE" => authority)))
      .to eq(fingerprint: sha["https://e/ovirt-engine/api\nadmin@internal\n#{sha["certificate"]}"])
  end

  it "says which file cannot be read" do
    expect { described_class.reference(nil, environment.merge("OVIRT_CAFILE" => "/none.pem")) }
      .to raise_error(OvirtProvision::Error, %r{OVIRT_CAFILE.*/none\.pem})
  end

  it "is handed over as lines, with a path that holds elsewhere, and without what is not given" do
    Dir.chdir(File.dirname(authority)) do
      lines = described_class.lines(environment.merge("OVIRT_CAFILE" => "ca.pem", "OTHER" => "x"))
      expect(lines.lines(chomp: true)).to eq(["OVIRT_URL=https://e/ovirt-engine/api", "OVIRT_USERNAME=admin@internal",
                                              "OVIRT_PASSWORD=secret", "OVIRT_CAFILE=#{File.realpath(authority)}"])
    end
  end

  it "is not handed over with a line break, and does not tell the password" do
    expect { described_class.lines(environment.merge("OVIRT_PASSWORD" => "canary\nOVIRT_URL=x")) }
      .to raise_error(OvirtProvision::Error) { |e|
            expect(e.message).to match(/\AOVIRT_PASSWORD(?!.*canary)/m)
          }
  end
end
